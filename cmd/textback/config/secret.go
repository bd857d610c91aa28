package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// Secret is a password, token or key. It prints as "[secret]" everywhere;
// Reveal gives it to whoever must send it.
type Secret string

const hidden = "[secret]"

func (s Secret) String() string               { return hidden }
func (s Secret) GoString() string             { return hidden }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

const maxSecret = 16 << 10

// find tells where the file that a …_file key names is. A plain name is looked
// for among the service's credentials, where systemd puts them, then beside
// textback.yaml, then in a folder "secrets" there, where the unit's
// LoadCredential= takes them from: so "textback check" at a shell reads what the
// service reads.
func find(name, dir string) (path string, credential bool, err error) {
	if filepath.IsAbs(name) {
		return name, false, nil
	}
	type place struct {
		path       string
		credential bool
	}
	var places []place
	if c := os.Getenv("CREDENTIALS_DIRECTORY"); c != "" && !strings.ContainsRune(name, filepath.Separator) {
		places = append(places, place{filepath.Join(c, name), true})
	}
	places = append(places, place{filepath.Join(dir, name), false})
	if !strings.ContainsRune(name, filepath.Separator) {
		places = append(places, place{filepath.Join(dir, "secrets", name), false})
	}
	var tried []string
	for _, p := range places {
		_, err := os.Stat(p.path)
		if err == nil {
			return p.path, p.credential, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", false, plainPath(err)
		}
		tried = append(tried, p.path)
	}
	return "", false, fmt.Errorf("no such file: looked for %s", strings.Join(tried, ", "))
}

// readSecret reads the one line of the file that name names. warning is a
// sentence about a file that more people can read than should.
func readSecret(name, dir string) (s Secret, warning string, err error) {
	s, warning, err = readSecretLines(name, dir)
	if err == nil && strings.ContainsAny(string(s), "\r\n") {
		path, _, _ := find(name, dir)
		return "", "", fmt.Errorf("%s has more than one line", path)
	}
	return s, warning, err
}

// readSecretLines reads a whole file, such as a key in PEM form.
func readSecretLines(name, dir string) (s Secret, warning string, err error) {
	path, credential, err := find(name, dir)
	if err != nil {
		return "", "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", "", plainPath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", "", plainPath(err)
	}
	if info.IsDir() {
		return "", "", fmt.Errorf("%s is a directory", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", "", plainPath(err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	switch {
	case strings.TrimSpace(text) == "":
		return "", "", fmt.Errorf("%s is empty", path)
	case len(b) > maxSecret:
		return "", "", fmt.Errorf("%s is too long", path)
	case text != strings.TrimSpace(text):
		return "", "", fmt.Errorf("%s has blanks before or after the secret", path)
	}
	if mode := info.Mode().Perm(); !credential && mode&0o004 != 0 {
		warning = fmt.Sprintf("%s can be read by every user of this host", path)
	}
	return Secret(text), warning, nil
}

// plainPath says an error of the file system without the name of the call.
func plainPath(err error) error {
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s cannot be read by this user", pe.Path)
	}
	return fmt.Errorf("%s: %w", pe.Path, pe.Err)
}
