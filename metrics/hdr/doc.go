// Package hdr converts between the distributions of package metrics and
// HdrHistogram, whose tools plot and compare them.
//
// Both cut the range of values alike, so nothing is rounded: every percentile
// of [ToHDR] is the percentile of the distribution. Only the exact minimum and
// maximum are lost; HdrHistogram knows the edges of their buckets.
//
// Two file formats are written and read: .hgrm, a percentile distribution in
// text for the plotter at http://hdrhistogram.github.io/HdrHistogram/plotFiles.html,
// and the interval log (version 1.3, histograms in the compressed V2
// encoding), from which whole distributions come back.
//
// It is a package of its own so that metrics needs nothing beyond the standard
// library and golang.org/x/sys.
package hdr
