package lint

import (
	"errors"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"
)

var (
	inlineLink    = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?[^)]*\)`)
	referenceLink = regexp.MustCompile(`^\s{0,3}\[[^\]]+\]:\s*<?([^\s>]+)`)
	codeSpan      = regexp.MustCompile("`[^`]*`")
)

// CheckLinks finds relative links in Markdown files that lead nowhere. Links
// to other hosts and within the page are not followed.
func CheckLinks(tree fs.FS) ([]Finding, error) {
	names, err := Files(tree, ".md")
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, name := range names {
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return nil, err
		}
		for line, target := range linksOf(string(source)) {
			what, err := follow(tree, name, target)
			if err != nil {
				return nil, err
			}
			if what != "" {
				found = append(found, Finding{Path: name, Line: line, What: what})
			}
		}
	}
	return found, nil
}

// linksOf yields the line and the target of every link outside code.
func linksOf(source string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		number, fence := 0, ""
		for line := range strings.Lines(source) {
			number++
			trimmed := strings.TrimSpace(line)
			if fence != "" || strings.HasPrefix(trimmed, "```") || strings.HasPrefix(trimmed, "~~~") {
				switch {
				case fence == "":
					fence = trimmed[:3]
				case strings.HasPrefix(trimmed, fence):
					fence = ""
				}
				continue
			}
			line = codeSpan.ReplaceAllString(line, "``")
			for _, match := range append(inlineLink.FindAllStringSubmatch(line, -1),
				referenceLink.FindAllStringSubmatch(line, -1)...) {
				if !yield(number, match[1]) {
					return
				}
			}
		}
	}
}

// follow says what is wrong with a link from the file name, if anything.
func follow(tree fs.FS, name, target string) (string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return "link to " + target + ", which is not a URL", nil
	}
	if u.Scheme != "" || u.Host != "" || u.Path == "" {
		return "", nil
	}
	if strings.HasPrefix(u.Path, "/") {
		return "link to " + target + ": make it relative, so that it works wherever the tree is read", nil
	}
	file := path.Join(path.Dir(name), u.Path)
	if !fs.ValidPath(file) {
		return "link to " + target + ", which is outside the repository", nil
	}
	switch _, err := fs.Stat(tree, file); {
	case errors.Is(err, fs.ErrNotExist):
		return "link to " + target + ", but there is no " + file, nil
	default:
		return "", err
	}
}
