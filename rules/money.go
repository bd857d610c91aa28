package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Scalar reads an amount as people write it: 0.0083, 5, 5.00.
func (m *Money) Scalar(s string) error {
	whole, part, _ := strings.Cut(strings.TrimSpace(s), ".")
	if whole == "" || len(whole) > 9 || len(part) > 6 || strings.Trim(whole+part, "0123456789") != "" {
		return fmt.Errorf("%q is no amount of money: write it like 5.00 or 0.0083, with at most 6 digits behind the point", s)
	}
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", 6-len(part)), 10, 64)
	*m = Money(n)
	return err
}

// String writes an amount as people do: "5.00", "0.0083".
func (m Money) String() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	part := strings.TrimRight(fmt.Sprintf("%06d", m%1e6), "0")
	for len(part) < 2 {
		part += "0"
	}
	return fmt.Sprintf("%s%d.%s", sign, m/1e6, part)
}

// limit is how many, or no limit at all.
type limit struct {
	n   int
	off bool
}

// Scalar reads a number or the word off.
func (l *limit) Scalar(s string) error {
	if off(s) {
		*l = limit{off: true}
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 1_000_000 {
		return fmt.Errorf(`%q is no limit: write a whole number, 0 for none allowed, or "off" for no limit`, s)
	}
	*l = limit{n: n}
	return nil
}

// reached tells whether one more is too much after so many.
func (l limit) reached(spent int) bool { return !l.off && spent >= l.n }

// tighter is the one of both that allows less.
func (l limit) tighter(o limit) limit {
	if l.off || !o.off && o.n < l.n {
		return o
	}
	return l
}

// budget is how much money, or no limit at all.
type budget struct {
	most Money
	off  bool
}

// Scalar reads an amount or the word off.
func (b *budget) Scalar(s string) error {
	if off(s) {
		*b = budget{off: true}
		return nil
	}
	var m Money
	if m.Scalar(s) != nil {
		return errors.New(strconv.Quote(s) + ` is no budget: write an amount like 5.00, or "off" for no limit`)
	}
	*b = budget{most: m}
	return nil
}

// off is the one word for no limit. false is refused: whoever writes it may as well mean that there are to be none.
func off(s string) bool { return strings.EqualFold(s, "off") }
