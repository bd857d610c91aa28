package sip

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func framed(body string, length string) string {
	return "MESSAGE sip:a@x SIP/2.0\r\nCall-ID: c\r\n" + length + "\r\n" + body
}

func collect(parts ...string) (got []string, junk int) {
	var s Stream
	for _, p := range parts {
		junk += s.Feed([]byte(p), func(m []byte) { got = append(got, string(m)) })
	}
	return got, junk
}

func TestStream(t *testing.T) {
	long := framed("hello", "Content-Length: 5\r\n")
	compact := framed("four", "l : 4\r\n")
	bare := framed("", "")
	answer := "SIP/2.0 200 OK\r\nCall-ID: c\r\nContent-Length: 0\r\n\r\n"
	tests := []struct {
		name string
		in   []string
		want []string
		junk int
	}{
		{"one", []string{long}, []string{long}, 0},
		{"several in one segment, pings between", []string{"\r\n\r\n" + long + "\r\n\r\n" + compact + "\r\n" + bare + answer}, []string{long, compact, bare, answer}, 0},
		{"begun in the middle", []string{"half of a header\r\nCSeq: 1 INVITE\r\n\r\nv=0\r\n" + answer}, []string{answer}, len("half of a header\r\nCSeq: 1 INVITE\r\n\r\nv=0\r\n")},
		{"a body that looks like a message is body", []string{framed(answer, fmt.Sprintf("Content-Length: %d\r\n", len(answer))) + bare}, []string{framed(answer, fmt.Sprintf("Content-Length: %d\r\n", len(answer))), bare}, 0},
		{"bare line feeds", []string{"SIP/2.0 200 OK\nCall-ID: c\n\n" + answer}, []string{"SIP/2.0 200 OK\nCall-ID: c\n\n", answer}, 0},
		{"not SIP", []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n"}, nil, 0},
		{"a length that is none", []string{framed("", "Content-Length: many\r\n") + answer}, []string{framed("", "Content-Length: many\r\n"), answer}, 0},
		{"a length beyond reason", []string{framed("", "Content-Length: 99999999\r\n") + answer}, []string{answer}, len(framed("", "Content-Length: 99999999\r\n"))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, junk := collect(tt.in...)
			if fmt.Sprint(got) != fmt.Sprint(tt.want) || tt.junk > 0 && junk != tt.junk {
				t.Errorf("%q, %d bytes of junk; want %q, %d", got, junk, tt.want, tt.junk)
			}
			// However TCP cuts the stream, the messages are the same.
			whole := strings.Join(tt.in, "")
			for at := range whole {
				if cut, _ := collect(whole[:at], whole[at:]); fmt.Sprint(cut) != fmt.Sprint(tt.want) {
					t.Fatalf("cut at %d: %q", at, cut)
				}
			}
			bytewise, _ := collect(strings.Split(whole, "")...)
			if fmt.Sprint(bytewise) != fmt.Sprint(tt.want) {
				t.Errorf("byte by byte: %q", bytewise)
			}
		})
	}
}

func TestStreamLoses(t *testing.T) {
	var s Stream
	var got []string
	handle := func(m []byte) { got = append(got, string(m)) }
	s.Feed([]byte("INVITE sip:a@x SIP/2.0\r\nCall-ID: begun\r\n"), handle)
	s.Lost()
	s.Feed([]byte("Content-Length: 3\r\n\r\nv=0SIP/2.0 200 OK\r\nCall-ID: lost\r\n\r\n"), handle)
	s.Feed([]byte("BYE sip:a@x SIP/2.0\r\nCall-ID: found\r\n\r\n"), handle)
	if len(got) == 0 || !strings.Contains(got[len(got)-1], "found") || strings.Contains(strings.Join(got, ""), "begun") {
		t.Errorf("%q", got)
	}
	// A stream that never ends a message does not grow.
	s = Stream{}
	for range 1000 {
		s.Feed(bytes.Repeat([]byte("X: y\r\n"), 100), handle)
		s.Feed([]byte("INVITE sip:a@x SIP/2.0\r\n"), handle)
	}
	if len(s.buf) > 2*maxMessage {
		t.Errorf("%d bytes held", len(s.buf))
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte(framed("hello", "Content-Length: 5\r\n")), 20)
	f.Add([]byte("\r\n\r\nSIP/2.0 200 OK\r\nl: 0\r\n\r\nBYE sip:x SIP/2.0\n\n"), 9)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		if at < 0 || at > len(b) {
			at = len(b) / 2
		}
		var one, two Stream
		var a, c [][]byte
		one.Feed(b, func(m []byte) { a = append(a, bytes.Clone(m)) })
		two.Feed(b[:at], func(m []byte) { c = append(c, bytes.Clone(m)) })
		two.Feed(b[at:], func(m []byte) { c = append(c, bytes.Clone(m)) })
		if len(one.buf) > maxMessage+len(b) {
			t.Errorf("%d bytes held", len(one.buf))
		}
		for _, m := range a {
			if len(m) == 0 || len(m) > maxMessage {
				t.Errorf("a message of %d bytes", len(m))
			}
		}
	})
}
