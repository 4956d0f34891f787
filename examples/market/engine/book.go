package main

import (
	"slices"

	"github.com/cell-runtime/cell/examples/market"
)

// The sides of a book.
const (
	buy  = 0
	sell = 1
)

// book holds the orders of one symbol that rest, on each side the best first.
type book [2][]market.Order

// sideOf returns an order's side, and whether the order makes sense.
func sideOf(o market.Order) (side int, valid bool) {
	if o.Side == market.SideSell {
		side = sell
	}
	return side, (o.Side == market.SideBuy || o.Side == market.SideSell) && o.Account != "" && o.Symbol != "" &&
		o.Price >= 1 && o.Price <= most && o.Quantity >= 1 && o.Quantity <= most
}

// best returns the best order that one of side at price can trade with, or nil.
func (b *book) best(side int, price int64) *market.Order {
	others := b[1-side]
	if len(others) == 0 || side == buy && others[0].Price > price || side == sell && others[0].Price < price {
		return nil
	}
	return &others[0]
}

// take takes a quantity off the best order that one of side trades with.
func (b *book) take(side int, quantity int64) {
	others := b[1-side]
	if others[0].Quantity -= quantity; others[0].Quantity == 0 {
		b[1-side] = slices.Delete(others, 0, 1)
	}
}

// rest puts an order behind all that are as good or better.
func (b *book) rest(side int, o market.Order) {
	i, _ := slices.BinarySearchFunc(b[side], o, func(have, o market.Order) int {
		better := have.Price < o.Price
		if side == buy {
			better = have.Price > o.Price
		}
		if better || have.Price == o.Price {
			return -1
		}
		return 1
	})
	b[side] = slices.Insert(b[side], i, o)
}

// levels sums up one side by price.
func (b *book) levels(side int) (levels []market.Level) {
	for _, o := range b[side] {
		if n := len(levels); n > 0 && levels[n-1].Price == o.Price {
			levels[n-1].Quantity += o.Quantity
			continue
		}
		levels = append(levels, market.Level{Price: o.Price, Quantity: o.Quantity})
	}
	return levels
}
