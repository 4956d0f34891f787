package wasm

import (
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Errors, wrapped with context; compare with errors.Is.
var (
	// ErrModule: the bytes are no module, or not one of a cell.
	ErrModule = errors.New("wasm: not a cell's module")
	// ErrTrap: the guest broke a rule of WebAssembly, ran out of memory, or was
	// interrupted. Its instance is of no more use.
	ErrTrap = errors.New("wasm: the guest trapped")
	// ErrGuest: the guest answered with what can't be an answer.
	ErrGuest = errors.New("wasm: the guest broke the protocol")
)

// Options tune an engine. The zero value is what nearly everybody wants.
type Options struct {
	// MaxMemory bounds the linear memory of one instance in bytes. Default:
	// 16 MiB. At most 4 GiB.
	MaxMemory int64
	// Interruptible lets the context of a call end it, which makes loops of
	// the guest about 15 times slower. Without it a guest that loops holds its
	// goroutine for ever: only for modules that are trusted to end, or in a
	// process that may be killed.
	Interruptible bool
	// CacheDir, if set, keeps compiled modules; only its owner may write to it.
	CacheDir string
	// Log, if set, is given what guests log, at most MaxLog bytes at a time.
	Log func(text string)
}

const (
	pageSize      = 64 << 10
	defaultMemory = 16 << 20
	maxMemory     = 4 << 30
	// MaxLog bounds one line of a guest.
	MaxLog = 1 << 10
)

// Engine compiles and instantiates modules. Its methods may be called from any
// goroutine.
type Engine struct {
	o     Options
	run   wazero.Runtime
	cache wazero.CompilationCache
	pool  memoryPool
}

// New makes an engine. Close frees it.
func New(ctx context.Context, o Options) (*Engine, error) {
	if o.MaxMemory == 0 {
		o.MaxMemory = defaultMemory
	}
	if o.MaxMemory < pageSize || o.MaxMemory > maxMemory {
		return nil, fmt.Errorf("wasm: Options.MaxMemory is %d and must be %d to %d", o.MaxMemory, pageSize, int64(maxMemory))
	}
	c := wazero.NewRuntimeConfig().WithMemoryLimitPages(uint32(o.MaxMemory / pageSize)).WithCloseOnContextDone(o.Interruptible)
	e := &Engine{o: o}
	if o.CacheDir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(o.CacheDir)
		if err != nil {
			return nil, fmt.Errorf("wasm: Options.CacheDir: %w", err)
		}
		e.cache = cache
		c = c.WithCompilationCache(cache)
	}
	e.run = wazero.NewRuntimeWithConfig(ctx, c)
	_, err := e.run.NewHostModuleBuilder(hostModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(e.log), []api.ValueType{api.ValueTypeI32, api.ValueTypeI32}, nil).
		Export("log").Instantiate(ctx)
	if err != nil {
		return nil, errors.Join(err, e.Close(ctx))
	}
	return e, nil
}

const hostModule = "cell"

// log is the one thing that a guest can import.
func (e *Engine) log(_ context.Context, m api.Module, stack []uint64) {
	at, size := uint32(stack[0]), min(uint32(stack[1]), MaxLog)
	if b, ok := m.Memory().Read(at, size); ok && e.o.Log != nil {
		e.o.Log(string(b))
	}
}

// Close ends all instances and frees what was compiled.
func (e *Engine) Close(ctx context.Context) error {
	err := e.run.Close(ctx)
	if e.cache != nil {
		err = errors.Join(err, e.cache.Close(ctx))
	}
	return err
}

// Module is a compiled module, of which instances are made.
type Module struct {
	e        *Engine
	compiled wazero.CompiledModule
	config   wazero.ModuleConfig
}

// Compile checks and compiles a module. Error: ErrModule, which says what it
// wants that cells don't get, or lacks.
func (e *Engine) Compile(ctx context.Context, binary []byte) (*Module, error) {
	c, err := e.run.CompileModule(ctx, binary)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	if err := check(c); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return &Module{e: e, compiled: c, config: wazero.NewModuleConfig().WithName("").WithStartFunctions()}, nil
}

// signatures are what a cell's module exports.
var signatures = map[string]struct{ parameters, results []api.ValueType }{
	"cell_buffer": {[]api.ValueType{api.ValueTypeI32}, []api.ValueType{api.ValueTypeI32}},
	"cell_call":   {[]api.ValueType{api.ValueTypeI64, api.ValueTypeI32}, []api.ValueType{api.ValueTypeI64}},
}

func check(c wazero.CompiledModule) error {
	for _, f := range c.ImportedFunctions() {
		if module, name, _ := f.Import(); module != hostModule || name != "log" {
			return fmt.Errorf("%w: it imports %s.%s, and cells get %s.log alone: no files, clocks or sockets", ErrModule, module, name, hostModule)
		}
	}
	if len(c.ImportedMemories()) > 0 || c.ExportedMemories()["memory"] == nil {
		return fmt.Errorf("%w: it must export a memory of its own as \"memory\"", ErrModule)
	}
	exported := c.ExportedFunctions()
	for name, want := range signatures {
		f := exported[name]
		if f == nil || string(f.ParamTypes()) != string(want.parameters) || string(f.ResultTypes()) != string(want.results) {
			return fmt.Errorf("%w: it must export %s as package wasm says", ErrModule, name)
		}
	}
	return nil
}

// Spawn makes an instance. Error: ErrTrap.
func (m *Module) Spawn(ctx context.Context) (*Instance, error) {
	i, err := m.e.run.InstantiateModule(experimental.WithMemoryAllocator(ctx, &m.e.pool), m.compiled, m.config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTrap, err)
	}
	return &Instance{m: i, buffer: i.ExportedFunction("cell_buffer"), call: i.ExportedFunction("cell_call")}, nil
}
