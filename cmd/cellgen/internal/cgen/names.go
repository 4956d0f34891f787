package cgen

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrName is wrapped by errors that say that a name of the description can't be
// written in C.
var ErrName = errors.New("a name that C can't have")

// identifier is what the name of a description's file must be: everything in the
// header begins with it.
var identifier = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// words are taken in C99 to C23 or C++23, which may include the header too, or are
// macros of gcc or of the standard headers. None has a capital letter, for names
// become fields without.
var words = set(`
	alignas alignof and and_eq asm atomic_cancel atomic_commit atomic_noexcept auto bitand bitor bool break
	case catch char char16_t char32_t char8_t class co_await co_return co_yield compl concept const const_cast
	consteval constexpr constinit continue contract_assert decltype default delete do double dynamic_cast else
	enum explicit export extern false float for fortran friend goto if inline int long mutable namespace new
	noexcept not not_eq nullptr operator or or_eq private protected public reflexpr register reinterpret_cast
	requires restrict return short signed sizeof static static_assert static_cast struct switch synchronized
	template this thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using
	virtual void volatile wchar_t while xor xor_eq
	assert complex errno i386 linux noreturn offsetof stderr stdin stdout unix
	cell_call cell_method max_align_t nullptr_t ptrdiff_t sig_atomic_t size_t wint_t`)

// standard matches the types of stdint.h.
var standard = regexp.MustCompile(`^u?int(_least|_fast|ptr|max)?[0-9]*_t$`)

func set(text string) map[string]bool {
	all := map[string]bool{}
	for _, word := range strings.Fields(text) {
		all[word] = true
	}
	return all
}

// checkBase refuses a description whose file's name can't begin a name of C.
func checkBase(base string) error {
	if identifier.MatchString(base) {
		return nil
	}
	return fmt.Errorf("%w: the header's names begin with that of the description, and %q is not a letter with letters, digits and underscores behind it: rename the file", ErrName, base)
}

// claim notes that the header declares name for what why says. Names of one
// service or type differ in C if they do in the description; those of two may
// meet, for C has one scope for all.
func (g *generator) claim(name, why string) {
	lower := strings.ToLower(name)
	other, taken := g.taken[name]
	switch {
	case g.err != nil:
	case words[name] || standard.MatchString(name):
		g.err = fmt.Errorf("%w: %s, %s, has a meaning in C or C++ already: rename it", ErrName, name, why)
	case strings.HasPrefix(lower, "cell_"):
		g.err = fmt.Errorf("%w: %s, %s, begins as the names of cell.h do: rename it", ErrName, name, why)
	case taken:
		g.err = fmt.Errorf("%w: %s would be %s and %s: rename one of them", ErrName, name, other, why)
	}
	g.taken[name] = why
}

// member is a field's name within its struct: one that C or C++ needs for itself,
// or that is the name of a type of this header, gets an underscore behind it.
func (g *generator) member(name string) string {
	name = snake(name)
	if words[name] || standard.MatchString(name) || g.typeNames[name] {
		name += "_"
	}
	return name
}

// snake writes BidPrice as bid_price. Names that differ in a description in more
// than case and underscores, as they must, differ here.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		upper := r >= 'A' && r <= 'Z'
		if upper && i > 0 && name[i-1] != '_' && (name[i-1] < 'A' || name[i-1] > 'Z') {
			b.WriteByte('_')
		}
		if upper {
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
