// Command transfer-server hands out the files of one folder.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"io"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/cell-runtime/cell/examples/transfer"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// pieceSize is how many bytes travel in one item of the stream. With the
// client's window of 64 items, 4 MiB at most are on their way.
const pieceSize = 64 << 10

func main() {
	folder := flag.String("folder", ".", "whose files to hand out")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *folder); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, folder string) error {
	root, err := os.OpenRoot(folder) // no name leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	server, err := rpc.NewServer(nil)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := transfer.RegisterFiles(server, files{root}); err != nil {
		return err
	}
	l, err := uds.Listen(transfer.Name, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	return server.Run(ctx, l.AcceptLink)
}

// files implements transfer.Files.
type files struct{ root *os.Root }

func (f files) Fetch(_ context.Context, req transfer.From, out rpc.Sender[transfer.Piece]) (transfer.File, error) {
	file, err := f.root.Open(req.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return transfer.File{}, rpc.Errorf(wire.StatusNotFound, "there is no file %q", req.Name)
	}
	if err != nil {
		return transfer.File{}, rpc.Errorf(wire.StatusPermissionDenied, "%q can't be read: %w", req.Name, err)
	}
	defer file.Close()
	// What the client has already is read once more, for the digest of the whole.
	digest := sha256.New()
	if n, err := io.CopyN(digest, file, req.Offset); err != nil || req.Offset < 0 {
		return transfer.File{}, rpc.Errorf(wire.StatusOutOfRange, "%q can't be sent from byte %d on, after reading %d", req.Name, req.Offset, n)
	}
	size, err := send(file, req.Offset, digest, out)
	if err != nil {
		return transfer.File{}, err
	}
	return transfer.File{Size: size, SHA256: [32]byte(digest.Sum(nil))}, nil
}

// send streams what is left of a file and returns where it ended. Each Send
// waits until the client has room: a slow client slows this loop down, and
// memory is bounded by its window.
func send(file io.Reader, offset int64, digest io.Writer, out rpc.Sender[transfer.Piece]) (int64, error) {
	buf := make([]byte, pieceSize)
	for {
		n, err := io.ReadFull(file, buf)
		if n > 0 {
			digest.Write(buf[:n])
			if err := out.Send(transfer.Piece{Offset: offset, Data: buf[:n]}); err != nil {
				return offset, err // the client is gone, or has canceled
			}
			offset += int64(n)
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return offset, nil
		default:
			return offset, err
		}
	}
}
