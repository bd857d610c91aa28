// Package lab is in charge of real parts for tests: Asterisk 22 and 16 in
// network namespaces, with scripted phones (sipp) that do to them what people
// do, and the truth about every call that comes of it.
//
// A package that uses it hands its TestMain over:
//
//	func TestMain(m *testing.M) { lab.Main(m) }
//
// Main builds what is missing (the first time this takes about two minutes and
// needs root, apt and a Debian mirror) and runs the test binary again in
// namespaces of its own, where only the loopback interface exists. An
// end-to-end test then reads like this:
//
//	for _, v := range lab.Versions {
//		t.Run(v.String(), func(t *testing.T) {
//			t.Parallel()
//			p := lab.Start(t, v) // ends with the test
//			// start a daemon against p.URL(), lab.ARIUser, lab.ARIPassword
//			// and collect the calls it publishes
//			if err := lab.RunAll(t.Context(), p, lab.Scenarios(), 50); err != nil {
//				t.Error(err)
//			}
//			for _, d := range lab.Compare(lab.Scenarios(), calls) {
//				t.Error(d)
//			}
//		})
//	}
//
// Scenarios have numbers and phones of their own and run side by side on one
// PBX; calls are matched with their truth by the outside party's number. What
// happens to the PBX itself is up to the test: Restart, Stop, Kill, Boot,
// Freeze, Thaw.
//
// Addresses: Asterisk 22 lives in 127.22.0.0/16 and 16 in 127.16.0.0/16, SIP
// on port 5060 and HTTP on 8088 of each PBX's own address. A PBX has a tmpfs
// over a shared image, so nothing it writes outlives it. However the test
// process dies, everything it started dies with it.
//
// Recordings are made by the package's own tests, of each scenario alone or of
// all at once:
//
//	go test ./pbx/lab -run TestRecord -record DIR [-only rang_out,busy]
//	go test ./pbx/lab -run TestEverything -everything [-record DIR]
//
// Environment: TEXTBACK_LAB_DIR is where images are kept (a directory
// textback-lab in the user's cache by default), TEXTBACK_LAB_MIRROR a Debian
// mirror instead of the machine's own.
package lab
