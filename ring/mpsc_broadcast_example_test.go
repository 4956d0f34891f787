package ring_test

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/wire"
)

// Two goroutines, each with a producer of its own, send to one consumer.
func ExampleNewSharedProducer() {
	memory, err := ring.Create(ring.Options{Kind: ring.MPSC})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer memory.Close()
	consumer, err := ring.NewSharedConsumer(memory, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var senders sync.WaitGroup
	for id := range uint64(2) {
		producer, err := ring.NewSharedProducer(memory, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		senders.Go(func() {
			defer producer.Close()
			places := make([]wire.Vesicle, 3)
			n, _ := producer.Claim(places, 8) // three places by one compare-and-swap
			for i := range places[:n] {
				places[i].Header = wire.Header{Kind: wire.KindEvent, Fingerprint: id}
				copy(places[i].Payload, "measured")
			}
			_ = producer.Commit(places[:n])
			_ = producer.Flush()
		})
	}
	senders.Wait()

	in := make([]wire.Vesicle, 16)
	n, _ := consumer.Poll(in)
	counts := [2]int{}
	for _, v := range in[:n] {
		counts[v.Header.Fingerprint]++
	}
	fmt.Println(counts, string(in[0].Payload))
	_ = consumer.Release(n) // from here on the payloads are the producers'
	// Output: [3 3] measured
}

// A consumer that makes no progress finds out whether it waits for a producer
// that has died.
func ExampleSharedConsumer_Recover() {
	memory, err := ring.Create(ring.Options{Kind: ring.MPSC})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer memory.Close()
	consumer, _ := ring.NewSharedConsumer(memory, nil)
	producer, _ := ring.NewSharedProducer(memory, nil)
	_, _ = producer.Claim(make([]wire.Vesicle, 4), 100) // and never a Commit

	fmt.Println("stuck:", consumer.Stuck())
	fmt.Println("passed over, as the kernel says:", consumer.Recover(nil)) // it is this process, and lives
	fmt.Println("passed over, if it were dead:", consumer.Recover(func(pid uint32) bool { return true }))
	fmt.Println("stuck:", consumer.Stuck())
	// Output:
	// stuck: true
	// passed over, as the kernel says: 0
	// passed over, if it were dead: 1
	// stuck: false
}

// A subscriber that is too slow notices, and knows how much it lost.
func ExampleSubscriber() {
	memory, err := ring.Create(ring.Options{Kind: ring.Broadcast, Size: ring.MinSize})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer memory.Close()
	publisher, _ := ring.NewPublisher(memory)
	// In another process: ring.Attach(fd, ring.Broadcast), which maps read-only.
	subscriber, _ := ring.NewSubscriber(memory, ring.Newest, nil)

	publish := func(first, n int) {
		place := make([]wire.Vesicle, 1)
		for i := first; i < first+n; i++ {
			_, _ = publisher.Claim(place, 32)
			place[0].Header = wire.Header{Kind: wire.KindEvent}
			place[0].Payload = fmt.Appendf(place[0].Payload[:0], "tick %d", i)
			_ = publisher.Commit(place)
			_ = publisher.Flush()
		}
	}
	buf := make([]byte, subscriber.MaxPayload())
	receive := func() {
		for {
			v, err := subscriber.Receive(buf)
			switch {
			case errors.Is(err, ring.ErrLapped):
				fmt.Println("lost", subscriber.Lost())
				continue
			case err == nil:
				fmt.Printf("%s\n", v.Payload)
				continue
			}
			return // ring.ErrEmpty
		}
	}
	publish(0, 2)
	receive()
	publish(2, 1000)
	receive()
	// Output:
	// tick 0
	// tick 1
	// lost 999
	// tick 1001
}

// In place, without a copy: what was read counts only if Release says that it
// was intact all the while.
func ExampleSubscriber_Poll() {
	memory, err := ring.Create(ring.Options{Kind: ring.Broadcast})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer memory.Close()
	publisher, _ := ring.NewPublisher(memory)
	subscriber, _ := ring.NewSubscriber(memory, ring.Newest, nil)
	places := make([]wire.Vesicle, 8)
	n, _ := publisher.Claim(places, 1)
	for i := range places[:n] {
		places[i].Header = wire.Header{Kind: wire.KindEvent}
		places[i].Payload[0] = byte(i)
	}
	_ = publisher.Commit(places[:n])
	_ = publisher.Flush()

	in := make([]wire.Vesicle, 16)
	n, _ = subscriber.Poll(in)
	sum := 0
	for _, v := range in[:n] {
		sum += int(v.Payload[0])
	}
	if intact, _ := subscriber.Release(n); intact {
		fmt.Println("sum of", n, "is", sum)
	}
	// Output: sum of 8 is 28
}
