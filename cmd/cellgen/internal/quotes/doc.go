// Package quotes holds two versions of a service, made from descriptions that
// were written by hand: testdata/schema/quotes1.cell, and quotes2.cell, which
// appends fields. Its tests have each read the messages of the other.
package quotes

//go:generate go run github.com/cell-runtime/cell/cmd/cellgen -package older older/quotes.cell
//go:generate go run github.com/cell-runtime/cell/cmd/cellgen -package newer newer/quotes.cell
