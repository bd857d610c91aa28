package strict

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// cents reads itself: an amount, or the word none.
type cents int

func (c *cents) Scalar(s string) error {
	if s == "none" {
		*c = -1
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("%q is no amount", s)
	}
	*c = cents(n)
	return nil
}

// either is one word for all, or one for each key.
type either struct {
	all string
	by  Keyed[string]
}

func (e *either) Either(single bool) any {
	if single {
		return &e.all
	}
	return &e.by
}

type own struct {
	Price cents            `yaml:"price"`
	Texts Keyed[either]    `yaml:"texts"`
	Dates *Keyed[[]string] `yaml:"dates"`
	Rooms Keyed[*struct {  // items may be pointers too
		Beds int `yaml:"beds"`
	}] `yaml:"rooms"`
	Many map[string]cents `yaml:"many"`
}

// Types that read themselves, maps in the file's order, and what may stand in two ways.
func TestOwnTypes(t *testing.T) {
	var o own
	r, ok := Parse("f", []byte("price: none\ntexts:\n  z: hello\n  a: {en: hi, es: hola}\ndates: {2026-12-24: [a, b], \"2026-12-25\": [], 2026-12-26: }\nrooms: {b: {beds: 2}, a: }\nmany: {x: 5}\n"), &o)
	if !ok || len(r.Problems) > 0 {
		t.Fatal(r.Problems)
	}
	if o.Price != -1 || len(o.Texts) != 2 || o.Texts[0].Key != "z" || o.Texts[0].Value.all != "hello" || o.Texts[0].Value.by != nil || o.Texts[1].Value.by[1] != (Item[string]{"es", "hola"}) {
		t.Errorf("%+v", o)
	}
	if d := *o.Dates; len(d) != 3 || d[0].Key != "2026-12-24" || len(d[0].Value) != 2 || d[1].Value == nil || d[2].Value != nil {
		t.Errorf("%+v", d)
	}
	if o.Rooms[0].Value.Beds != 2 || o.Rooms[1].Value != nil || o.Many["x"] != 5 {
		t.Errorf("%+v", o)
	}
	if v, ok := o.Texts.Get("a"); !ok || v.by == nil {
		t.Errorf("%+v", v)
	}
	if _, ok := o.Texts.Get("b"); ok {
		t.Error("there is no b")
	}
	if r.Node(At("texts", "a", "es")).Column != 19 || !r.Has(At("dates").Key("2026-12-24").Index(1)) || r.Has(At("texts", "b")) {
		t.Error("nodes are not found")
	}
}

func TestOwnTypesProblems(t *testing.T) {
	var o own
	r, _ := Parse("f", []byte("price: [1]\ntexts: {a: [x], a: y, b: {en: {x: y}}}\ndates: [2026-12-24]\nrooms: {a: {bedsheets: 2}}\nmany: {x: much}\n"), &o)
	want := `f:1:8: want a single value here, not a list
f:2:12: want a single value here, not a list
f:2:17: a stands here a second time: it is set in line 2 already
f:2:31: want a single value here, not a group of keys
f:3:8: want a group of keys here, not a list
f:4:13: unknown key "bedsheets"; did you mean beds? (one of: beds)
f:5:11: "much" is no amount
`
	if got := problems(r); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if !r.Wrong("price") || !r.Wrong(At("texts")) || r.Wrong(At("texts", "c")) {
		t.Error("what is wrong is not told")
	}
}

// A warning leaves a value right.
func TestWarningIsNotWrong(t *testing.T) {
	var o own
	r, _ := Parse("f", []byte("price: 5\nmany: {x: 1}\n"), &o)
	r.Warning("price", "dear")
	r.Warning(At("many", "x"), "dear")
	if r.Wrong("price") || r.Wrong("many") || r.Wrong("") || r.Bad() {
		t.Error("a warning makes a value wrong")
	}
	r.Problem(At("many", "x"), "too dear")
	if !r.Wrong("many") || !r.Wrong("") || r.Wrong("price") {
		t.Error("a problem does not make a value wrong")
	}
}

func TestDidYouMean(t *testing.T) {
	words := []string{"mon", "tue", "outcome", "x", "quiet_hours"}
	for got, want := range map[string]string{"monday": "mon", "outcom": "outcome", "oucome": "outcome", "quiet": "quiet_hours", "out": "outcome", "mo": "mon", "xyz": "", "": "", "MONDAY": "mon",
		strings.Repeat("mon", 99): ""} {
		want = strings.Replace("; did you mean "+want+"?", "; did you mean ?", "", 1)
		if s := DidYouMean(got, words); s != want {
			t.Errorf("%q: %q, want %q", got, s, want)
		}
	}
}
