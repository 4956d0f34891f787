// Command transfer-get fetches a file from transfer-server. What it has when it
// is killed stays in NAME.part, and it goes on from there; when the server is
// killed it waits for the next one.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/examples/transfer"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

func main() {
	log.SetFlags(0)
	rate := flag.Float64("rate", 0, "read no more than that many bytes a second; 0: as they come")
	patience := flag.Duration("patience", 10*time.Second, "how long to wait for a server")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: transfer-get [flags] NAME")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := get(ctx, flag.Arg(0), *rate, *patience); err != nil {
		log.Fatal(err)
	}
}

// get fetches a file, over as many connections as it takes.
func get(ctx context.Context, name string, rate float64, patience time.Duration) error {
	part, err := os.OpenFile(filepath.Base(name)+".part", os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer part.Close()
	dial := uds.Dialer(transfer.Name, &uds.Options{WaitForListener: patience})
	conn, err := rpc.Connect(ctx, dial, nil) // opens another link when one is lost
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		file, err := fetch(ctx, transfer.NewFilesClient(conn), name, part, rate)
		if errors.Is(err, wire.StatusPeerGone) { // the server died; what came is kept
			fmt.Println("the server is gone")
			continue
		}
		if err != nil {
			return err
		}
		return finish(part, filepath.Base(name), file)
	}
}

// fetch appends to part what is missing there.
func fetch(ctx context.Context, client *transfer.FilesClient, name string, part *os.File, rate float64) (transfer.File, error) {
	have, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return transfer.File{}, err
	}
	if have > 0 {
		fmt.Printf("going on from byte %d\n", have)
	}
	stream, err := client.Fetch(ctx, transfer.From{Name: name, Offset: have})
	if err != nil {
		return transfer.File{}, err
	}
	defer stream.Close()
	begin, came := time.Now(), 0
	for piece, err := range stream.All() {
		if err != nil {
			return transfer.File{}, err
		}
		if _, err := part.Write(piece.Data); err != nil {
			return transfer.File{}, err
		}
		if came += len(piece.Data); rate > 0 {
			time.Sleep(time.Duration(float64(came)/rate*1e9) - time.Since(begin))
		}
	}
	return stream.Reply()
}

// finish gives a complete file its name, if it is what the server has.
func finish(part *os.File, name string, file transfer.File) error {
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return err
	}
	digest := sha256.New()
	size, err := io.Copy(digest, part)
	if err != nil {
		return err
	}
	if size != file.Size || !bytes.Equal(digest.Sum(nil), file.SHA256[:]) {
		return fmt.Errorf("%s is not what the server has, which may have changed meanwhile: remove it and begin anew", part.Name())
	}
	if err := os.Rename(part.Name(), name); err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes, SHA-256 %x\n", name, size, file.SHA256)
	return nil
}
