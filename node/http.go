package node

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/pprof"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cell-runtime/cell/metrics"
)

//go:embed web
var assets embed.FS

// web is what the node shows over HTTP: nothing unless it is asked for.
type web struct {
	servers   []*http.Server
	addresses []string
}

// HTTP returns the addresses at which the node serves HTTP, operations before
// the page. It may be called once the node is ready.
func (n *Node) HTTP() []string { return n.web.addresses }

// serveHTTP begins to serve what the configuration asks for.
func (n *Node) serveHTTP() (*web, error) {
	w := &web{}
	o := n.config.Operations
	if o.Prometheus != "" {
		if err := w.serve(n, o.Prometheus, o.Public, n.monitoring(o.Pprof)); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	if o.Web != "" {
		page, err := n.page()
		if err == nil {
			err = w.serve(n, o.Web, o.Public, page)
		}
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	return w, nil
}

func (w *web) serve(n *Node, address string, public bool, h http.Handler) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("operations: %w", err)
	}
	s := &http.Server{
		Handler: guard(h, public), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	w.servers, w.addresses = append(w.servers, s), append(w.addresses, l.Addr().String())
	n.log.Info("serving HTTP", "address", l.Addr().String())
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			n.log.Error("HTTP has ended", "err", err)
		}
	}()
	return nil
}

func (w *web) close() error {
	var errs []error
	for _, s := range w.servers {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if s.Shutdown(ctx) != nil {
			errs = append(errs, s.Close())
		}
		cancel()
	}
	return errors.Join(errs...)
}

// guard lets only reading requests through and, unless everybody may read, only
// those that name this host by itself: a page from elsewhere whose name leads
// here (DNS rebinding) has another Host.
func guard(h http.Handler, public bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			head.Set("Allow", "GET, HEAD")
			http.Error(w, "this is for reading", http.StatusMethodNotAllowed)
			return
		}
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if !public && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "name this host as 127.0.0.1 or localhost", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// monitoring serves Prometheus and orchestrators.
func (n *Node) monitoring(profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if err := metrics.WritePrometheus(w, n.allMetrics()); err != nil {
			n.log.Warn("metrics", "err", err)
		}
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if err := n.engine.Do(ctx, func() {}); err != nil {
			http.Error(w, "the engine does not answer: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if missing := n.missing(); len(missing) > 0 {
			http.Error(w, strings.Join(missing, "\n"), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	if profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// missing says which cells that start at boot are not ready.
func (n *Node) missing() (all []string) {
	select {
	case <-n.ready:
	default:
		all = append(all, "the node is starting")
	}
	for _, c := range n.list() {
		v := c.current()
		if state, why := v.state(); v.config.Start == "boot" && state != stateReady {
			all = append(all, strings.TrimSuffix(c.name+" is "+state+": "+why, ": "))
		}
	}
	return all
}

// allMetrics reads the metrics files of the runtime directory, the node's own
// and those of its cells; each sample says of which it is.
func (n *Node) allMetrics() *metrics.Snapshot {
	all := &metrics.Snapshot{Taken: time.Now()}
	add := func(process string, s *metrics.Snapshot) {
		for _, sample := range s.Samples {
			sample.Labels = append(slices.Clone(sample.Labels), metrics.L("process", process))
			if sample.Writer != "" {
				sample.Labels = append(sample.Labels, metrics.L("region", sample.Writer))
				sample.Writer = ""
			}
			all.Samples = append(all.Samples, sample)
		}
	}
	if s, err := n.file.Snapshot(); err == nil {
		add("node", s)
	}
	files, _ := filepath.Glob(filepath.Join(n.dir, "*.metrics"))
	for _, f := range files {
		process := strings.TrimSuffix(filepath.Base(f), ".metrics")
		if process == "node" {
			continue
		}
		r, err := metrics.Open(f)
		if err != nil {
			continue // it is being made, or it is nobody's
		}
		if s, err := r.Snapshot(); err == nil {
			add(process, s)
		}
		_ = r.Close()
	}
	return all
}

// page serves the read-only page.
func (n *Node) page() (http.Handler, error) {
	files, err := fs.Sub(assets, "web")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(files))
	mux.HandleFunc("/state.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(n.overview()); err != nil {
			n.log.Debug("page", "err", err)
		}
	})
	return mux, nil
}
