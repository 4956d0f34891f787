package metrics

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// create makes a file that is closed when the test ends.
func create(t *testing.T, path string, o Options) *File {
	t.Helper()
	f, err := Create(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func open(t *testing.T, path string) *Reader {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestFileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	f := create(t, path, Options{})
	r := open(t, path)
	c := must(f.Counter("calls_total", "Calls.", "", L("link", "ring"), L("dir", "out")))
	g := must(f.Gauge("queue", "Vesicles waiting.", ""))
	h := must(f.Histogram("rtt", "Round trip.", "ns", HistogramOptions{Digits: 2}))
	s := must(f.SharedCounter("errors_total", "", ""))
	c.Add(3)
	g.Set(-5)
	g.Add(1)
	h.Record(1234)
	s.Inc()
	if c.Value() != 3 || g.Value() != -4 || s.Value() != 1 {
		t.Errorf("values %d %d %d", c.Value(), g.Value(), s.Value())
	}
	for name, snap := range map[string]*Snapshot{"reader": must(r.Snapshot()), "own": must(f.Snapshot())} {
		if snap.PID != os.Getpid() || snap.State != StateLive || len(snap.Samples) != 4 {
			t.Errorf("%s: %+v", name, snap)
		}
		m, ok := snap.Find("calls_total", L("link", "ring"))
		if !ok || m.Counter != 3 || m.Help != "Calls." || !slices.Equal(m.Labels, []Label{{"dir", "out"}, {"link", "ring"}}) {
			t.Errorf("%s: counter %+v %v", name, m, ok)
		}
		if m, _ := snap.Find("queue"); m.Gauge != -4 || m.Kind != KindGauge {
			t.Errorf("%s: gauge %+v", name, m)
		}
		if m, _ := snap.Find("rtt"); m.Unit != "ns" || m.Histogram.Summary() != h.Snapshot().Summary() || m.Histogram.Max() != 1234 {
			t.Errorf("%s: histogram %+v", name, m)
		}
		if m, _ := snap.Find("errors_total"); m.Counter != 1 || m.Kind != KindCounter {
			t.Errorf("%s: shared counter %+v", name, m)
		}
		if _, ok := snap.Find("calls_total", L("link", "uds")); ok {
			t.Errorf("%s: found a label that isn't there", name)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c.Inc() // after Close: harmless
	if s := must(r.Snapshot()); s.State != StateClosed {
		t.Errorf("state %v after Close", s.State)
	}
	if _, err := f.Counter("late", "", ""); !errors.Is(err, ErrClosed) {
		t.Errorf("registering after Close: %v, want ErrClosed", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Snapshot(); !errors.Is(err, ErrClosed) {
		t.Errorf("reading after Close: %v, want ErrClosed", err)
	}
}

func TestCreateMode(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	path := filepath.Join(t.TempDir(), "m")
	create(t, path, Options{})
	st, err := os.Stat(path)
	if err != nil || st.Mode() != 0o600 || st.Size() != DefaultSize {
		t.Fatalf("%v, %v", st, err)
	}
	var raw unix.Stat_t
	if err := unix.Stat(path, &raw); err != nil || raw.Blocks*512 < DefaultSize {
		t.Errorf("%d blocks of 512 are allocated, %v: a full file system would be a SIGBUS", raw.Blocks, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(write("target", nil), link); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	live := filepath.Join(dir, "live")
	create(t, live, Options{})
	for _, c := range []struct {
		name, path string
		o          Options
		want       error
	}{
		{"a live file of this process", live, Options{}, ErrBusy},
		{"somebody's text", write("text", []byte("my thesis")), Options{}, ErrNotMetrics},
		{"somebody's zeros", write("zeros", make([]byte, 1<<16)), Options{}, ErrNotMetrics},
		{"a symbolic link", link, Options{}, unix.ELOOP},
		{"a FIFO", fifo, Options{}, ErrNotMetrics},
		{"a directory", dir, Options{}, unix.EISDIR},
		{"a missing directory", filepath.Join(dir, "no", "m"), Options{}, fs.ErrNotExist},
		{"too small", filepath.Join(dir, "s"), Options{Size: 100}, ErrInvalid},
		{"too large", filepath.Join(dir, "s"), Options{Size: MaxSize + 1}, ErrInvalid},
		{"table larger than the file", filepath.Join(dir, "s"), Options{Size: MinSize, Instruments: 1000}, ErrInvalid},
		{"negative table", filepath.Join(dir, "s"), Options{Instruments: -1}, ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, _ := os.ReadDir(dir)
			if _, err := Create(c.path, c.o); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if after, _ := os.ReadDir(dir); len(after) != len(before) {
				t.Errorf("%d directory entries before, %d after", len(before), len(after))
			}
		})
	}
	if _, err := Open(live); err != nil {
		t.Errorf("the live file is no longer readable: %v", err)
	}
}

func TestCreateReplaces(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		make func(path string)
	}{
		{"a closed file", func(p string) {
			if err := must(Create(p, Options{})).Close(); err != nil {
				t.Fatal(err)
			}
		}},
		{"an empty file of a creator that died", func(p string) { must(os.Create(p)).Close() }},
		{"a file of a creator that died later", func(p string) {
			h := header{size: DefaultSize, capacity: 4}
			_ = os.WriteFile(p, h.encode(), 0o600)
		}},
		{"a truncated file", func(p string) {
			_ = must(Create(p, Options{})).Close()
			_ = os.Truncate(p, 5000)
		}},
		{"a live file of a process that is gone", func(p string) {
			h := header{state: StateLive, size: MinSize, capacity: 4, writer: process{pid: os.Getpid(), start: 1}}
			_ = os.WriteFile(p, append(h.encode(), make([]byte, MinSize)...), 0o600)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-"))
			c.make(path)
			f := create(t, path, Options{})
			must(f.Counter("c", "", "")).Inc()
			if s := must(open(t, path).Snapshot()); s.Samples[0].Counter != 1 {
				t.Errorf("read %+v", s.Samples)
			}
		})
	}
}

// Without locks (NFS, say) PID and start time have to be enough.
func TestCreateRefusesLiveWriterWithoutLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	h := header{state: StateLive, size: MinSize, capacity: 4, writer: must(thisProcess())}
	if err := os.WriteFile(path, append(h.encode(), make([]byte, MinSize)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, Options{}); !errors.Is(err, ErrBusy) {
		t.Fatalf("got %v, want ErrBusy", err)
	}
}

// Of many that want one path, exactly one gets it, also when they all find a
// dead file.
func TestCreateRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	for round := range 20 {
		var mu sync.Mutex
		var won []*File
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				f, err := Create(path, Options{Size: MinSize, Instruments: 2})
				if err != nil && !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					won = append(won, f)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: %d winners", round, len(won))
		}
		if !stillAt(won[0].fd, path) {
			t.Fatalf("round %d: the winner's file is not at the path", round)
		}
		if err := won[0].Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRegisterRefuses(t *testing.T) {
	f := must(Anonymous(Options{Size: 32 << 10, Instruments: 8}))
	must(f.Counter("taken", "", "", L("a", "b")))
	reg := func(name string, labels ...Label) error {
		_, err := f.Counter(name, "", "", labels...)
		return err
	}
	for name, c := range map[string]struct {
		err, want error
	}{
		"empty name":            {reg(""), ErrInvalid},
		"name with a dash":      {reg("a-b"), ErrInvalid},
		"name with a digit":     {reg("9a"), ErrInvalid},
		"colon in a label":      {reg("x", L("a:b", "")), ErrInvalid},
		"reserved label":        {reg("x", L("le", "1")), ErrInvalid},
		"the writer's label":    {reg("x", L("writer", "1")), ErrInvalid},
		"label of Prometheus":   {reg("x", L("__name__", "1")), ErrInvalid},
		"label twice":           {reg("x", L("a", "1"), L("a", "2")), ErrInvalid},
		"label not UTF-8":       {reg("x", L("a", "\xff")), ErrInvalid},
		"label with a zero":     {reg("x", L("a", "\x00")), ErrInvalid},
		"texts too long":        {reg("x", L("a", strings.Repeat("b", 500))), ErrInvalid},
		"the same again":        {reg("taken", L("a", "b")), ErrDuplicate},
		"histogram too large":   {second(f.Histogram("h", "", "", HistogramOptions{})), ErrFull},
		"bad histogram options": {second(f.Histogram("h", "", "", HistogramOptions{Digits: 9})), ErrInvalid},
		"same name, other kind": {second(f.Gauge("taken", "", "")), ErrDuplicate},
		"same name, other unit": {second(f.Counter("taken", "", "ns")), ErrDuplicate},
		"nameless writer":       {second(f.Writer("")), ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	if n := len(must(f.Snapshot()).Samples); n != 1 {
		t.Errorf("refusals left %d instruments", n)
	}
	for i := range 7 {
		must(f.Counter("c", "", "", L("i", string(rune('a'+i)))))
	}
	if err := reg("one_more"); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the table: %v, want ErrFull", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestWritersDoNotShareLines(t *testing.T) {
	f := must(Anonymous(Options{}))
	line := map[int64]string{}
	for _, name := range []string{"a", "b"} {
		w := must(f.Writer(name))
		if again := must(f.Writer(name)); again != w {
			t.Error("the same name gave another writer")
		}
		for i := range 100 {
			must(w.Counter("c", "", "", L("i", string(rune('0'+i)))))
		}
	}
	must(f.Counter("own1", "", ""))
	must(f.Counter("own2", "", ""))
	must(f.Snapshot())
	for _, d := range f.reader.descs {
		who := d.writer
		if who == "" {
			who = d.name
		}
		if o, ok := line[d.offset/lineSize]; ok && o != who {
			t.Errorf("%s and %s share a line", o, who)
		}
		line[d.offset/lineSize] = who
	}
}

func TestSnapshotMergedAndSub(t *testing.T) {
	f := must(Anonymous(Options{}))
	type set struct {
		c *Counter
		g *Gauge
		h *Histogram
	}
	var sets []set
	for _, name := range []string{"a", "b"} {
		w := must(f.Writer(name))
		sets = append(sets, set{must(w.Counter("c", "", "")), must(w.Gauge("g", "", "")),
			must(w.Histogram("h", "", "ns", HistogramOptions{Digits: 1}))})
	}
	record := func(n uint64, v int64) {
		for i, s := range sets {
			s.c.Add(n + uint64(i))
			s.g.Set(v)
			s.h.RecordN(v, n)
		}
	}
	record(10, 7)
	first := must(f.Snapshot())
	if m, ok := first.Find("c", L(WriterLabel, "b")); !ok || m.Counter != 11 {
		t.Errorf("by writer: %+v %v", m, ok)
	}
	record(5, 70)
	late := must(f.Counter("late", "", ""))
	late.Inc()
	now := must(f.Snapshot())
	check := func(name string, s *Snapshot, c uint64, g int64, n uint64, max int64) {
		t.Helper()
		cm, _ := s.Find("c")
		gm, _ := s.Find("g")
		hm, _ := s.Find("h")
		if cm.Counter != c || gm.Gauge != g || hm.Histogram.Count() != n || hm.Histogram.Max() != max {
			t.Errorf("%s: counter %d gauge %d histogram %+v", name, cm.Counter, gm.Gauge, hm.Histogram.Summary())
		}
	}
	merged := must(now.Merged())
	if len(merged.Samples) != 4 {
		t.Errorf("%d samples merged", len(merged.Samples))
	}
	check("merged", merged, 32, 140, 30, 70)
	check("unmerged", now, 15, 70, 15, 70) // Merged didn't touch it
	delta := must(now.Sub(first))
	check("difference", delta, 5, 70, 5, 70)
	check("merged difference", must(delta.Merged()), 11, 140, 10, 70)
	if m, _ := delta.Find("late"); m.Counter != 1 {
		t.Errorf("newer than the earlier snapshot: %+v", m)
	}
	other := *first
	other.Created = other.Created.Add(time.Second)
	check("of another file", must(now.Sub(&other)), 15, 70, 15, 70)
}

func TestNothingIsLeftBehind(t *testing.T) {
	dir := t.TempDir()
	fds := func() int { return len(must(os.ReadDir("/proc/self/fd"))) }
	maps := func() int {
		return bytes.Count(must(os.ReadFile("/proc/self/maps")), []byte(dir))
	}
	before := fds()
	func() {
		for range 10 {
			f := must(Create(filepath.Join(dir, "m"), Options{}))
			must(f.Counter("c", "", "")).Inc()
			r := must(Open(filepath.Join(dir, "m")))
			must(r.Snapshot())
			_ = r.Close()
			_ = f.Close()
		}
	}()
	if n := fds(); n != before {
		t.Errorf("%d descriptors before, %d after", before, n)
	}
	for i := 0; maps() > 0; i++ {
		if i == 200 {
			t.Fatalf("%d mappings are left", maps())
		}
		runtime.GC()
		time.Sleep(5 * time.Millisecond)
	}
}

func TestInstrumentKeepsItsMappingAfterClose(t *testing.T) {
	f := must(Create(filepath.Join(t.TempDir(), "m"), Options{}))
	c := must(f.Counter("c", "", ""))
	_ = f.Close()
	f = nil
	for range 5 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	c.Inc()
	if c.Value() != 1 {
		t.Error("lost")
	}
}

// image returns the bytes of a small file with one instrument of each kind.
func image() []byte {
	f := must(Anonymous(Options{Size: MinSize, Instruments: 4}))
	c := must(f.Counter("c_total", "help", "B", L("k", "v")))
	g := must(f.Gauge("g", "", ""))
	h := must(f.Histogram("h", "", "ns", HistogramOptions{Digits: 1, Highest: 1000}))
	c.Add(42)
	g.Set(-1)
	for v := range int64(1000) {
		h.Record(v)
	}
	b := make([]byte, f.mem.size())
	must(f.mem.ReadAt(b, 0))
	return b
}

// A file of a machine of the other byte order: every integer swapped.
func TestReaderTakesEitherByteOrder(t *testing.T) {
	b := image()
	want := must(must(NewReader(bytes.NewReader(b), int64(len(b)))).Snapshot())
	got := must(must(NewReader(bytes.NewReader(swapImage(b)), int64(len(b)))).Snapshot())
	for i := range want.Samples {
		w, g := want.Samples[i], got.Samples[i]
		if w.Counter != g.Counter || w.Gauge != g.Gauge || w.identity() != g.identity() || w.Kind != g.Kind {
			t.Errorf("got %+v, want %+v", g, w)
		}
		if w.Kind == KindHistogram && w.Histogram.Summary() != g.Histogram.Summary() {
			t.Errorf("got %+v, want %+v", g.Histogram.Summary(), w.Histogram.Summary())
		}
	}
}

// swapImage converts between the byte orders field by field.
func swapImage(b []byte) []byte {
	b = slices.Clone(b)
	swap := func(at, n int) { slices.Reverse(b[at : at+n]) }
	for _, at := range []int{offOrder, offState, offSize, offCapacity, offPID, offStart, offCreated, offCount} {
		swap(at, 8)
	}
	swap(offVersion, 4)
	swap(offDescSize, 4)
	for i := range 3 {
		d := headerSize + i*descriptorSize
		n := int(binary.NativeEndian.Uint32(b[d+descStrings:]))
		for _, at := range []int{descKind, descDigits, descStrings} {
			swap(d+at, 4)
		}
		for _, at := range []int{descOffset, descSize, descLowest, descHighest} {
			swap(d+at, 8)
		}
		for at := d + descText; n > 0; n-- {
			l := int(binary.NativeEndian.Uint16(b[at:]))
			swap(at, 2)
			at += 2 + l
		}
		fixCRC(b[d:d+descriptorSize], binary.NativeEndian)
		swap(d+descCRC, 4)
	}
	for at := int(valuesAt(4)); at < len(b); at += 8 {
		swap(at, 8)
	}
	return b
}

var _ io.ReaderAt = (*memory)(nil)
