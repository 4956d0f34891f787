package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/broker"
	"github.com/cell-runtime/cell/ebpf"
)

// brokerFlags are those of the command.
type brokerFlags struct {
	attachment
	socket, mode string
	allow        []string
	queues       []uint
	port         uint16
	frags        bool
}

func newBroker(env *Env) *cobra.Command {
	var b brokerFlags
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Hand AF_XDP sockets to programs without capabilities",
		Long: `Attaches the program that takes one UDP port of an interface past the kernel,
and hands the AF_XDP sockets of its queues to programs that ask for them on a
unix socket: they need no capability then (Options.XDP.Broker of afxdp.Dial, or
package afxdp/broker). It runs until it is interrupted, and nothing stays
attached. It needs CAP_NET_RAW, CAP_BPF and CAP_NET_ADMIN.

Who asks is known by the kernel's word. Without --allow it must be this command's
own user, with it one of those that are named. Who gets a socket may send
whatever frames by it, on any interface of the network namespace with a queue
free: name none whom you would not let do that. docs/AFXDP.md says more.`,
		Example: "  sudo cellnode broker --iface eth0 --port 47101 --socket /run/cell/xdp --allow cell",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := b.options()
			if err != nil {
				return err
			}
			return runBroker(cmd, env, &b, o)
		},
	}
	f := cmd.Flags()
	b.flags(cmd)
	_ = f.MarkHidden("pin-root") // nothing is pinned here
	f.StringVar(&b.socket, "socket", "", "where programs ask; its folder must be there")
	f.Uint16Var(&b.port, "port", 0, "the UDP port that is taken past the kernel")
	f.UintSliceVar(&b.queues, "queue", []uint{0}, "a queue that is handed out; may be given again")
	f.StringSliceVar(&b.allow, "allow", nil, "a user, by name or number, who may have a queue; may be given again")
	f.BoolVar(&b.frags, "frags", false, "also packets in several buffers: for datagrams beyond a frame of memory, or an MTU beyond a page (Linux 6.6)")
	f.StringVar(&b.mode, "mode", "auto", "auto, driver or generic")
	return cmd
}

// options checks the flags.
func (b *brokerFlags) options() (o broker.Options, err error) {
	if b.socket == "" {
		return o, usagef("--socket is missing: where shall programs ask?")
	}
	if b.port == 0 {
		return o, usagef("--port is missing: which UDP port shall go past the kernel?")
	}
	o.Port, o.Frags = b.port, b.frags
	if o.Mode, err = ebpf.ParseMode(b.mode); err != nil || o.Mode == ebpf.ModeTCX {
		return o, usagef("--mode is %q; auto, driver and generic can be had", b.mode)
	}
	for _, q := range b.queues {
		if q >= ebpf.MaxQueues {
			return o, usagef("--queue is %d; 0 to %d can be handed out", q, ebpf.MaxQueues-1)
		}
		o.Queues = append(o.Queues, uint32(q))
	}
	if len(o.Queues) == 0 {
		return o, usagef("--queue names none")
	}
	if o.Allow, err = allowed(b.allow); err != nil {
		return o, err
	}
	o.Interface, err = b.index(true)
	return o, err
}

// allowed is the policy that lets only the named users have a queue; nil if none
// is named.
func allowed(names []string) (func(unix.Ucred) error, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var ids []uint32
	for _, name := range names {
		n, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			u, e := user.Lookup(name)
			if e != nil {
				return nil, usagef("--allow names %q: %v", name, e)
			}
			if n, err = strconv.ParseUint(u.Uid, 10, 32); err != nil {
				return nil, fmt.Errorf("user %s has the number %q: %w", name, u.Uid, err)
			}
		}
		ids = append(ids, uint32(n))
	}
	return func(c unix.Ucred) error {
		if !slices.Contains(ids, c.Uid) {
			return fmt.Errorf("user %d is none of those that may have a queue (--allow)", c.Uid)
		}
		return nil
	}, nil
}

// brokering is what the command says when it serves.
type brokering struct {
	Interface string   `json:"interface"`
	Queues    []uint32 `json:"queues"`
	Port      uint16   `json:"port"`
	Mode      string   `json:"mode"`
	Socket    string   `json:"socket"`
}

func runBroker(cmd *cobra.Command, env *Env, f *brokerFlags, o broker.Options) error {
	mode := fs.FileMode(0o600)
	if o.Allow != nil {
		mode = 0o666 // the kernel tells who they are
	}
	l, err := broker.Listen(f.socket, mode)
	if err != nil {
		return err
	}
	b, err := broker.New(o)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	err = env.Line(brokering{f.iface, o.Queues, o.Port, b.Mode().String(), f.socket}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "UDP port %d of %s goes past the kernel, mode %v, by queues %s, for who asks at %s.\nIt ends with this command: interrupt it.\n",
			o.Port, f.iface, b.Mode(), strings.Trim(fmt.Sprint(o.Queues), "[]"), f.socket)
		return err
	})
	if err != nil {
		return errors.Join(err, l.Close(), b.Close())
	}
	var mu sync.Mutex
	err = b.Run(cmd.Context(), l, func(why error) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintln(env.Err, why)
	})
	return errors.Join(err, b.Close())
}
