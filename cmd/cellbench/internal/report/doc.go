// Package report turns what cellbench measured into what people and programs
// read: a JSON file, a table on the terminal, a self-contained HTML page, an
// .hgrm file, and a comparison of two such files.
//
// A driver records one [Round] after another, the thing measured and its
// physical limit interleaved, and hands them to [Combine], which makes a
// [Result]. Everything else here takes Results. The JSON form is documented in
// docs/CELLBENCH.md and held by golden files; its version is [Schema].
//
// Nothing that comes from outside (a CPU's name, a file's name, a result file
// from somewhere else) is trusted: reading is bounded, terminal output has its
// control characters removed, and HTML is escaped by html/template.
package report
