package strict

import (
	"strings"
	"testing"
	"time"
)

type inner struct {
	Number int            `yaml:"number"`
	Flag   *bool          `yaml:"flag"`
	Wait   *time.Duration `yaml:"wait"`
}

type outer struct {
	Name  string           `yaml:"name"`
	Words []string         `yaml:"words"`
	In    *inner           `yaml:"in"`
	Any   map[string]inner `yaml:"any"`

	unseen int
}

func problems(r *Report) string {
	r.Sort()
	var b strings.Builder
	for _, p := range r.Problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

func TestParse(t *testing.T) {
	o := outer{Name: "default", unseen: 1}
	r, ok := Parse("f", []byte("words: [a, 2, +12125550100]\nname:\nin: &x {number: 7, flag: true, wait: 1m}\nany: {b: *x}\n"), &o)
	if !ok || r.Bad() || len(r.Problems) > 0 {
		t.Fatal(r.Problems)
	}
	if o.Name != "default" || strings.Join(o.Words, " ") != "a 2 +12125550100" || o.In.Number != 7 || !*o.In.Flag || *o.In.Wait != time.Minute || *o.Any["b"].Wait != time.Minute {
		t.Errorf("%+v", o)
	}
	if r.Has("in.none") || !r.Has(At("words").Index(1)) || r.Node("in.none").Line != 3 {
		t.Error("nodes are not found")
	}
}

func TestProblems(t *testing.T) {
	var o outer
	r, _ := Parse("f", []byte("nmae: x\nin: {number: seven, flag: maybe, wait: 5}\nwords: {a: b}\nname: true\nname: x\nany: {a: b}\n"), &o)
	want := `f:1:1: unknown key "nmae"; did you mean name? (one of: name, words, in, any)
f:2:14: "seven" is not a whole number
f:2:27: "maybe" is neither true nor false
f:2:40: "5" has no unit: write 5s, 5m or 5h
f:3:8: want a single value here, not a group of keys
f:4:7: want a single value here: put true in quotes if you mean the word
f:5:1: name stands here a second time: it is set in line 4 already
f:6:10: want a group of keys here, not a single value
`
	r.Problem("in.number", "not said: the number could not be read at all")
	if got := problems(r); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if !r.Wrong("in") || !r.Wrong("words") || !r.Wrong("") || r.Wrong("wor") {
		t.Error("what is wrong is not known")
	}
	r.OneOf("any", "word", "beta", "alpha", "betta")
	if p := r.Problems[len(r.Problems)-1].String(); p != `f:6:6: unknown word "beta"; did you mean betta? (one of: alpha, betta)` {
		t.Error(p)
	}
}

func TestDuration(t *testing.T) {
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{"2d": 2 * day, "0d": 0, "1d12h": 36 * time.Hour, "30d": 30 * day, "1d1m30s": day + 90*time.Second, "90m": 90 * time.Minute, "-5s": -5 * time.Second} {
		if d, err := Duration(s); err != nil || d != want {
			t.Errorf("%s: %v %v, want %v", s, d, err, want)
		}
	}
	for _, s := range []string{"d", "1.5d", "-2d", "+2d", "2 d", "2d3", "2d-3h", "2d+3h", "12h2d", "2d2d", "999999d", "2days", "2d9999999h", ""} {
		if d, err := Duration(s); err == nil {
			t.Errorf("%q is read as %v", s, d)
		}
	}
}

// Whatever is a duration is read the same with days put before it, and no day is lost.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"2d", "1d12h", "2d-3h", "0", "1.5h", "99999d", "99999d999999h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Duration(s)
		if err != nil || d < 0 || d > 1000*24*time.Hour || inDays.MatchString(s) || s[0] == '+' || s[0] == '-' {
			return
		}
		if more, err := Duration("2d" + s); err != nil || more != d+48*time.Hour {
			t.Errorf("%q is %v, and 2d before it %v (%v)", s, d, more, err)
		}
	})
}

// Aliases of aliases double with each line: they must cost neither time nor memory.
func TestBomb(t *testing.T) {
	type node struct {
		In []node `yaml:"in"`
	}
	var b strings.Builder
	b.WriteString("in: [&a0 {in: []}]\n")
	deep := strings.Repeat("{in: [", 60) + strings.Repeat("]}", 60)
	var n node
	if r, _ := Parse("f", []byte(deep), &n); !strings.Contains(problems(r), "nested too deep") {
		t.Error(problems(r))
	}
	b.Reset()
	b.WriteString("in:\n - &a0 {in: []}\n")
	for i := 1; i < 40; i++ {
		x := string(rune('a'+(i-1)/10)) + string(rune('0'+(i-1)%10))
		y := string(rune('a'+i/10)) + string(rune('0'+i%10))
		b.WriteString(" - &" + y + " {in: [*" + x + ", *" + x + "]}\n")
	}
	// Unfolded, it would be 2^40 values.
	if r, _ := Parse("f", []byte(b.String()), &n); !strings.Contains(problems(r), "this file is too large, or its aliases repeat too much") || r.spent > 2*maxNodes {
		t.Error(problems(r), r.spent)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("words: [a]\nin: {number: 7}\nany: {b: {flag: true}}\n"))
	f.Add([]byte("in: &a {in: *a}\n"))
	f.Add([]byte("? [a]\n: b\n---\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 2000 {
			return
		}
		var o outer
		r, _ := Parse("f", b, &o)
		r.Sort()
		for _, p := range r.Problems {
			if p.Text == "" || p.Line < 0 {
				t.Errorf("%+v", p)
			}
		}
	})
}
