package lab

import (
	"strings"
	"testing"
)

func TestMirrorIn(t *testing.T) {
	for _, tt := range []struct{ name, sources, want string }{
		{"classic", "# deb http://old.example/debian sid main\ndeb [signed-by=/k.gpg] http://mirror.example/debian bookworm main\n", "http://mirror.example/debian"},
		{"security first", "deb http://mirror.example/debian-security bookworm-security main\ndeb https://mirror.example/debian/ bookworm main\n", "https://mirror.example/debian/"},
		{"deb822", "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n", "http://mirror.example/debian"},
		{"other vendor", "Types: deb\nURIs: https://deb.example/node_20.x\n", ""},
		{"sources only", "deb-src http://mirror.example/debian bookworm main\n", ""},
	} {
		if got := mirrorIn(strings.NewReader(tt.sources)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
