package e2e

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"textback/pbx"
	"textback/pbx/lab"
)

// A call's event carries what the PBX's switches were when it ended: a device
// state, a global variable and a function. The database it does not tell.
func TestPBXState(t *testing.T) {
	for _, v := range lab.Versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			for try := 1; !pbxState(t, v, try == 3); try++ {
			}
		})
	}
}

// pbxState plays everything once; false means that the lab stumbled.
func pbxState(t *testing.T, v lab.Version, last bool) bool {
	p := lab.Start(t, v)
	shop := newProvider(t)
	d := newDaemon(t, fmt.Sprintf(`asterisk: {url: %q, user: %q, password_file: ari_password, states: ["Custom:NIGHT", "PJSIP/9999"],`+
		` variables: [NIGHTMODE, "GLOBAL(NIGHTMODE)", "DB(DAYNIGHT/C0)", NOSUCH, "NOSUCH(x)"], variables_every: 5s}`, p.URL(), lab.ARIUser), shop.URL, "1s")
	d.start()
	d.attached()
	console := func(commands ...string) {
		t.Helper()
		for _, c := range commands {
			if out, err := p.CLI(c); err != nil || strings.Contains(out, "No such command") {
				t.Fatalf("%s: %v %s", c, err, out)
			}
		}
	}
	// Long enough for the variables to be asked for while it lasts.
	call := func() bool { return d.plays(p, lab.Named("chain_declined_rang_out"), last) }
	if !call() {
		return false
	}
	console("devstate change Custom:NIGHT INUSE", "dialplan set global NIGHTMODE 1", "database put DAYNIGHT C0 NIGHT")
	if !call() {
		return false
	}
	console("devstate change Custom:NIGHT NOT_INUSE", "dialplan set global NIGHTMODE 0", "database del DAYNIGHT C0")
	if !call() {
		return false
	}
	d.settled()
	calls := d.calls()
	slices.SortFunc(calls, func(a, b *pbx.Call) int { return a.StartedAt.Compare(b.StartedAt) })
	want := []map[string]string{nil,
		{"Custom:NIGHT": "INUSE", "NIGHTMODE": "1", "GLOBAL(NIGHTMODE)": "1"},
		{"Custom:NIGHT": "NOT_INUSE", "NIGHTMODE": "0", "GLOBAL(NIGHTMODE)": "0"}}
	if len(calls) != len(want) {
		t.Fatalf("%d calls", len(calls))
	}
	for i, c := range calls {
		if !reflect.DeepEqual(c.PBX, want[i]) {
			t.Errorf("call %d: %v, want %v", i+1, c.PBX, want[i])
		}
	}
	out, _ := d.run("doctor")
	for _, line := range []string{"ok    state       Custom:NIGHT is NOT_INUSE", "note  state       Asterisk does not know PJSIP/9999",
		"ok    variable    NIGHTMODE is 0", "note  variable    Asterisk does not know NOSUCH", "note  variable    GLOBAL(NIGHTMODE) is a function"} {
		if !strings.Contains(out, line) {
			t.Errorf("doctor does not say %q:\n%s", line, out)
		}
	}
	d.stop()
	return true
}
