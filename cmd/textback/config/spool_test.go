package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"textback/sms/spool"
)

func TestSpoolOptions(t *testing.T) {
	dir := folder(t)
	for _, d := range []string{"out", "in"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o770); err != nil {
			t.Fatal(err)
		}
	}
	c := mustLoad(t, dir, "state_dir: "+dir+"\nsms: {transport: spool, spool: {kind: gammu, outgoing: "+dir+"/out, incoming: "+dir+"/in, sent: off, failed: off, number: 212 555 0100, report: false}}")
	want := spool.Options{Kind: spool.Gammu, Outgoing: dir + "/out", Incoming: dir + "/in", StateFile: dir + "/spool.jsonl", Number: "+12125550100", Region: "US", Expire: 15 * time.Minute}
	got := c.SpoolOptions(nil)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if _, err := spool.Open(got); err != nil {
		t.Fatal(err)
	}
	// What is not named is where Debian's packages have it; whether it is there is another matter.
	c, _ = load(t, dir, "sms: {transport: spool, spool: {kind: smstools}}")
	if o := c.SpoolOptions(nil); o.Outgoing != "/var/spool/sms/outgoing" || o.Checked != "/var/spool/sms/checked" || o.Reports != "" || !o.Report {
		t.Errorf("got %+v", o)
	}
}
