package config

import (
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"textback/rules/strict"
)

// A Service is what systemd's unit tells of the user that textback will run as.
type Service struct {
	Config      string          // textback.yaml, as ExecStart= names it
	Dynamic     bool            // a user of its own, to whom no file belongs
	Credentials map[string]bool // what is loaded for it
	groups      map[uint32]bool
	noHome      bool   // ProtectHome=
	ownTmp      bool   // PrivateTmp=
	opened      string // ConfigurationDirectory=, whose mode systemd sets when it starts the service
}

// unitDirs are where systemd looks, the first find wins.
var unitDirs = []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// InstalledService reads the unit textback.service and its drop-ins below root. Nil: there is none.
func InstalledService(root string) *Service {
	var unit string
	dropIns := map[string]string{} // path by name
	for _, dir := range unitDirs {
		dir = filepath.Join(root, dir)
		if file := filepath.Join(dir, "textback.service"); unit == "" {
			if _, err := os.Stat(file); err == nil {
				unit = file
			}
		}
		found, _ := filepath.Glob(filepath.Join(dir, "textback.service.d", "*.conf"))
		for _, file := range found {
			if name := filepath.Base(file); dropIns[name] == "" {
				dropIns[name] = file
			}
		}
	}
	if unit == "" {
		return nil
	}
	files := []string{unit}
	for _, name := range slices.Sorted(maps.Keys(dropIns)) {
		files = append(files, dropIns[name])
	}
	s := &Service{Credentials: map[string]bool{}, groups: map[uint32]bool{}}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		s.read(strings.ReplaceAll(string(b), "\\\n", " "))
	}
	return s
}

// read takes in one unit file. An empty assignment forgets.
func (s *Service) read(text string) {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section != "[Service]" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		yes := slices.Contains([]string{"yes", "true", "1", "on"}, strings.ToLower(value))
		switch key {
		case "ExecStart":
			s.Config = "/etc/textback/textback.yaml"
			words := strings.Fields(value)
			for i, w := range words {
				if path, ok := strings.CutPrefix(w, "--config="); ok {
					s.Config = path
				} else if w == "--config" && i+1 < len(words) {
					s.Config = words[i+1]
				}
			}
		case "DynamicUser":
			s.Dynamic = yes
		case "LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted":
			if id, _, _ := strings.Cut(value, ":"); id != "" {
				s.Credentials[id] = true
			} else {
				clear(s.Credentials)
			}
		case "SupplementaryGroups":
			if value == "" {
				clear(s.groups)
			}
			for _, name := range strings.Fields(value) {
				if g, err := user.LookupGroup(name); err == nil {
					name = g.Gid
				}
				if id, err := strconv.ParseUint(name, 10, 32); err == nil {
					s.groups[uint32(id)] = true
				}
			}
		case "ConfigurationDirectory":
			s.opened = filepath.Join("/etc", value)
		case "ProtectHome":
			s.noHome = yes || value == "tmpfs"
		case "PrivateTmp":
			s.ownTmp = yes
		}
	}
}

// unread says why the service cannot read a file, empty when it can.
func (s *Service) unread(file string) string {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	below := func(dirs ...string) bool {
		return slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(file, dir) })
	}
	switch {
	case s.noHome && below("/home/", "/root/", "/run/user/"):
		return "homes are hidden from it"
	case s.ownTmp && below("/tmp/", "/var/tmp/"):
		return "it has a /tmp of its own"
	}
	may := func(path string, others os.FileMode) bool {
		info, err := os.Stat(path)
		if err != nil {
			return true // that it is missing is another matter
		}
		if sys, ok := info.Sys().(*syscall.Stat_t); ok && s.groups[sys.Gid] {
			others <<= 3
		}
		return info.Mode().Perm()&others == others
	}
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		if dir != s.opened && !may(dir, 0o001) {
			return fmt.Sprintf("the folder %s is closed to it", dir)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if !may(file, 0o004) {
		return "it belongs to others"
	}
	return ""
}

// namedFile is one that a …_file key names.
type namedFile struct {
	at   strict.Path
	name string
}

// Unreadable warns of files that the service will not be able to read, which root, who checks, can.
// beside are those that rules.yaml names.
func (c *Config) Unreadable(s *Service, beside []string) []Problem {
	if c.file == nil || !s.Dynamic {
		return nil
	}
	rep := &strict.Report{}
	*rep = *c.file
	rep.Problems = nil
	const mend = "chmod o+r it, or where not everybody may read it, give it to the group of the drop-in shared-files.conf"
	plain := func(p strict.Path, file string) {
		if why := s.unread(file); strings.HasPrefix(why, "it belongs") {
			rep.Warning(p, "the service textback cannot read %s: %s", file, mend)
		} else if why != "" {
			rep.Warning(p, "the service textback cannot read %s, for %s: put it into /etc/textback, and %s", file, why, mend)
		}
	}
	if why := s.unread(c.file.File); why != "" {
		rep.Warning("", "the service textback cannot read this file, for %s: chmod o+r it; there are no secrets in it", why)
	}
	plain(strict.At("rules"), c.Rules)
	for _, file := range beside {
		plain(strict.At("rules"), file)
	}
	for i, file := range c.Contacts.Files {
		plain(strict.At("contacts", "files").Index(i), file)
	}
	for _, f := range c.named {
		if s.Credentials[f.name] {
			continue
		}
		file, _, err := find(f.name, c.dir)
		if err != nil {
			continue // it has been told
		}
		if why := s.unread(file); why != "" {
			id := filepath.Base(f.name)
			how := fmt.Sprintf("load it, by the drop-in of its kind or by a line of your own (systemctl edit textback): LoadCredential=%s:%s", id, file)
			if id != f.name {
				how += ", and name it " + id + " here"
			}
			rep.Warning(f.at, "the service textback cannot read %s, for %s: %s", file, why, how)
		}
	}
	rep.Sort()
	return rep.Problems
}
