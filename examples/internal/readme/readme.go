// Package readme runs the commands of a document exactly as a reader would who
// pastes them, and holds what they print to what the document shows. So the
// examples' READMEs and the quick start can't go out of date.
package readme

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// Block is a piece of shell in a document and what the document says it prints.
type Block struct {
	Line   int    // of the document, where the commands begin
	Script string // a fenced block marked sh
	// Output is the fenced block marked text behind it, line by line: each has
	// to be printed, in this order, among whatever else is. "…" stands for any
	// characters.
	Output []string
}

// Read returns the blocks of a Markdown file in order. Other fenced blocks are
// for the eye alone.
func Read(file string) ([]Block, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var blocks []Block
	fence := "" // the kind of the block around the line, "" outside
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		kind, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && fence != "":
			fence = ""
		case isFence:
			if fence = kind; fence == "" {
				fence = "none"
			}
			if fence == "sh" {
				blocks = append(blocks, Block{Line: number + 1})
			}
			if fence == "text" && len(blocks) == 0 {
				return nil, fmt.Errorf("%s:%d: output before any command", file, number)
			}
		case fence == "sh":
			blocks[len(blocks)-1].Script += line + "\n"
		case fence == "text" && line != "":
			last := &blocks[len(blocks)-1]
			last.Output = append(last.Output, line)
		}
	}
	return blocks, lines.Err()
}

// missing returns the first line of want that output lacks, in this order.
func missing(output string, want []string) (line string, found bool) {
	lines := strings.Split(output, "\n")
	for _, w := range want {
		i := 0
		for i < len(lines) && !matches(strings.TrimRight(lines[i], " \r"), w) {
			i++
		}
		if i == len(lines) {
			return w, true
		}
		lines = lines[i+1:]
	}
	return "", false
}

// matches reports whether line is as pattern says, where "…" is anything.
func matches(line, pattern string) bool {
	parts := strings.Split(pattern, "…")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return line == pattern
	}
	if !strings.HasPrefix(line, first) {
		return false
	}
	line = line[len(first):]
	for _, part := range parts[1 : len(parts)-1] {
		_, rest, ok := strings.Cut(line, part)
		if !ok {
			return false
		}
		line = rest
	}
	return strings.HasSuffix(line, last)
}
