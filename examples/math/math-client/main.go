// Command math-client divides two numbers, or takes the mean of any other
// count, by calling the math example's server.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/cell-runtime/cell/examples/math"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

func main() {
	log.SetFlags(0)
	numbers := make([]float64, 0, len(os.Args))
	for _, arg := range os.Args[1:] {
		x, err := strconv.ParseFloat(arg, 64)
		if err != nil {
			log.Fatalf("%q is no number; usage: math-client NUMBER…", arg)
		}
		numbers = append(numbers, x)
	}
	err := calculate(numbers)
	if errors.Is(err, wire.StatusInvalidArgument) { // what the handler returned
		log.Fatal("refused: ", err)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func calculate(numbers []float64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// Whoever is started first waits for the other.
	dial := uds.Dialer(math.Name, &uds.Options{WaitForListener: 5 * time.Second})
	conn, err := rpc.Connect(ctx, dial, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := math.NewMathClient(conn)
	if len(numbers) == 2 {
		q, err := client.Divide(ctx, math.Division{Dividend: int64(numbers[0]), Divisor: int64(numbers[1])})
		if err != nil {
			return err
		}
		fmt.Printf("%d, remainder %d\n", q.Value, q.Remainder)
		return nil
	}
	mean, err := client.Mean(ctx, math.Values{All: numbers})
	if err != nil {
		return err
	}
	fmt.Printf("mean %g\n", mean.Value)
	return nil
}
