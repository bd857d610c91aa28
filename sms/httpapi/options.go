package httpapi

import (
	"embed"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"textback/rules/strict"
	"textback/sms/once"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

// Presets are the names of the Specs that are shipped.
var Presets = func() (names []string) {
	files, err := presetFiles.ReadDir("presets")
	if err != nil {
		panic(err) // embedded
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".yaml"))
	}
	return names
}()

// Preset returns one of Presets.
func Preset(name string) (Spec, bool) {
	var s Spec
	if !slices.Contains(Presets, name) {
		return s, false
	}
	b, err := presetFiles.ReadFile(path.Join("presets", name+".yaml"))
	if err != nil {
		panic(err) // embedded
	}
	// A test checks that no preset has a problem.
	strict.Parse(name+".yaml", b, &s)
	return s, true
}

// A Problem is one thing in the Options that an admin should mend. Key names it
// as configuration does: "url", "secret_file", "values.application", "custom.request.url".
type Problem struct {
	Key     strict.Path
	Text    string
	Warning bool
}

// Problems checks o without making a Transport of it. It tells everything at once.
func (o Options) Problems() (out []Problem) {
	spec, problems := o.spec()
	if len(problems) == 0 {
		problems = o.check(spec)
		_, more := compile(spec, o.known(spec))
		for _, p := range more {
			p.at = strict.At("custom").Key(string(p.at))
			problems = append(problems, p)
		}
	}
	for _, p := range problems {
		out = append(out, Problem{Key: p.at, Text: p.text})
	}
	for key, u := range map[strict.Path]string{"url": o.URL, "public_url": o.PublicURL} {
		if rest, ok := strings.CutPrefix(u, "http://"); ok && once.Near(u) && !strings.HasPrefix(rest, "127.") && !strings.HasPrefix(rest, "localhost") && !strings.HasPrefix(rest, "[::1]") {
			out = append(out, Problem{Key: key, Warning: true, Text: "texts and their secrets cross the office's network in the clear: use https:// if the gateway knows it"})
		}
	}
	slices.SortStableFunc(out, func(a, b Problem) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return out
}

// Setup is what must be set up on the provider's side, in words; empty when the Spec does not say.
func (o Options) Setup() string {
	s, _ := o.spec()
	public := o.PublicURL
	if public == "" {
		public = "PUBLIC_URL"
	}
	return strings.ReplaceAll(s.Setup, "PUBLIC_URL", strings.TrimSuffix(public, "/"))
}

// spec is the preset's Spec with the sections of the custom one in place of its own.
func (o Options) spec() (Spec, []problem) {
	if o.Preset == "" && o.Custom == nil {
		return Spec{}, []problem{{at: "preset", text: "name a preset (" + strings.Join(Presets, ", ") + "), or describe the provider in custom"}}
	}
	var s Spec
	if o.Preset != "" {
		var ok bool
		if s, ok = Preset(o.Preset); !ok {
			return s, []problem{{at: "preset", text: fmt.Sprintf("unknown preset %q%s (one of: %s)", o.Preset, strict.DidYouMean(o.Preset, Presets), strings.Join(Presets, ", "))}}
		}
	}
	c := o.Custom
	if c == nil {
		return s, nil
	}
	if o.Preset == "" {
		return *c, nil
	}
	if c.Request != nil {
		s.Request = c.Request
	}
	if c.Response != nil {
		s.Response = c.Response
	}
	if c.Inbound != nil {
		s.Inbound = c.Inbound
	}
	if c.Receipt != nil {
		s.Receipt = c.Receipt
	}
	if c.Verify != nil {
		s.Verify = c.Verify
	}
	needs := maps.Clone(s.Needs)
	for name, what := range c.Needs {
		if needs == nil {
			needs = map[string]string{}
		}
		needs[name] = what
	}
	s.Needs = needs
	if c.URL != "" {
		s.URL = c.URL
	}
	return s, nil
}

// valueName is what a placeholder of the configuration's own may be called.
var valueName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// settings are the placeholders that have a key of their own, and its name.
var settings = map[string]string{"url": "url", "account": "account", "user": "user", "secret": "secret_file",
	"inbound_user": "inbound_user", "inbound_secret": "inbound_secret_file"}

// keyOf is where the configuration fills a placeholder.
func keyOf(name string) strict.Path {
	if k := settings[name]; k != "" {
		return strict.Path(k)
	}
	return strict.At("values", name)
}

// known are the names that templates of s may use.
func (o Options) known(s Spec) []string {
	names := append([]string{"url", "account", "user", "secret"}, placeholders...)
	for _, m := range []map[string]string{o.Values, s.Needs} {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if settings[name] == "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// check checks everything but the Spec.
func (o Options) check(s Spec) (out []problem) {
	bad := func(key strict.Path, format string, args ...any) {
		out = append(out, problem{at: key, text: fmt.Sprintf(format, args...)})
	}
	given := map[string]string{"url": o.URL, "account": o.Account, "user": o.User, "secret": o.Secret, "inbound_user": o.InboundUser, "inbound_secret": o.InboundSecret}
	for _, name := range slices.Sorted(maps.Keys(o.Values)) {
		if !valueName.MatchString(name) || settings[name] != "" || slices.Contains(placeholders, name) {
			bad(strict.At("values", name), "%q cannot be a placeholder of your own: use small letters, digits and _, and none of the others' names", name)
		}
		given[name] = o.Values[name]
	}
	signs := s.Request != nil && s.Request.Auth == "vonage" && len(o.PrivateKey) > 0
	if len(o.PrivateKey) > 0 {
		switch _, err := privateKey(o.PrivateKey); {
		case !signs:
			bad("private_key_file", "a private key is of use where request.auth is vonage only")
		case err != nil:
			bad("private_key_file", "%v", err)
		case o.Values["application"] == "":
			bad("values.application", "values.application is needed: the id of the application whose private key it is")
		}
	}
	if len(o.CA) > 0 {
		if _, err := once.Trust(o.CA); err != nil {
			bad("ca_file", "%v", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Needs)) {
		if given[name] != "" || strings.HasPrefix(name, "inbound_") && o.PublicURL == "" || (name == "secret" || name == "account") && signs {
			continue
		}
		key := keyOf(name)
		bad(key, "%s is needed: %s", key, s.Needs[name])
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if strings.ContainsFunc(given[name], func(r rune) bool { return r < ' ' || r == 0x7f }) {
			key := keyOf(name)
			bad(key, "%s has a control character in it, such as a tab", key)
		}
	}
	switch where, name := o.URL, strict.Path("url"); {
	case where == "" && s.URL == "" && s.Request != nil && strings.HasPrefix(s.Request.URL, "{url}") && s.Needs["url"] == "":
		bad(name, "say where the provider or gateway is reached, such as https://gateway.example")
	case where != "":
		if _, err := once.GatewayURL(where); err != nil {
			bad(name, "%v", err)
		}
	}
	if o.PublicURL != "" {
		if _, err := once.GatewayURL(o.PublicURL); err != nil {
			bad("public_url", "%v", err)
		}
		if s.Verify != nil && (s.Verify.Secret != "" || s.Verify.Signature != "" && s.Verify.Key != "secret") && o.InboundSecret == "" && s.Needs["inbound_secret"] == "" {
			bad("inbound_secret_file", "inbound_secret_file is needed: with what it holds webhooks prove where they come from")
		}
		if s.Verify != nil && s.Verify.Secret == "basic" && o.InboundUser == "" && s.Needs["inbound_user"] == "" {
			bad("inbound_user", "inbound_user is needed: the user of the webhooks' basic auth")
		}
		if o.InboundSecret != "" && len(o.InboundSecret) < 16 {
			bad("inbound_secret_file", "the secret of the webhooks is too short to be one: use 16 characters or more (openssl rand -hex 16)")
		}
	}
	if o.Validity < 0 || o.Validity > 48*time.Hour || o.Validity%time.Second != 0 {
		bad("validity", "%s is out of range: use whole seconds up to 48h, or 0s to leave it to the provider", o.Validity)
	}
	if o.PerMinute < 0 {
		bad("per_minute", "%d is out of range: texts a minute, 0 for the preset's", o.PerMinute)
	}
	if o.MaxSegments < 0 {
		bad("max_segments", "%d is out of range: segments of one text, 0 for the preset's", o.MaxSegments)
	}
	return out
}
