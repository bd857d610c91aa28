package httpapi

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"hash"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"textback/rules/strict"
)

// window is how far a signature's time may be from ours. Providers sign anew
// when they try again.
const window = 5 * time.Minute

// verify checks a Verify.
func (c *compiler) verify(v Verify) {
	at := strict.At("verify")
	if v.Secret == "" && v.Signature == "" {
		c.problem(at, "say how a webhook proves where it comes from: secret, signature, or both")
	}
	if v.Secret != "" {
		where, name, named := strings.Cut(v.Secret, ":")
		switch {
		case (where == "query" || where == "field" || where == "header") && name != "":
		case (where == "path" || where == "basic") && !named:
		default:
			c.problem(at.Key("secret"), "%q is no place for a secret: use query:NAME, field:NAME, header:NAME, path or basic", v.Secret)
		}
	}
	c.oneOf(at.Key("signature"), "signature", v.Signature, "", "hmac", "vonage", "plivo")
	c.oneOf(at.Key("key"), "key", v.Key, "inbound_secret", "secret")
	c.oneOf(at.Key("hash"), "hash", v.Hash, "sha256", "sha1", "sha512")
	c.oneOf(at.Key("encoding"), "encoding", v.Encoding, "hex", "base64")
	if v.Signature == "hmac" && v.Header == "" {
		c.problem(at.Key("header"), "say which header holds the signature")
	}
	if v.Over != "" {
		if t, err := parse(v.Over, signed); err != nil {
			c.problem(at.Key("over"), "%v", err)
		} else {
			if !t.has("body") {
				c.problem(at.Key("over"), "a signature that is not over {body} leaves the words to anybody")
			}
			if t.has("timestamp") && v.TimestampHeader == "" {
				c.problem(at.Key("timestamp_header"), "say which header holds the time that is signed")
			}
		}
	}
}

// signed are the placeholders of Verify.Over.
var signed = []string{"body", "timestamp", "url", "method"}

func (t *Transport) verifySecret() string {
	if t.spec.Verify == nil {
		return ""
	}
	return t.spec.Verify.Secret
}

// same compares in a time that tells nothing about the secret.
func same(got, want string) bool {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return want != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// authentic reports whether r comes from who knows the secrets. rest is its path
// after /inbound or /status; body and query are as they came.
func (t *Transport) authentic(r *http.Request, rest string, body []byte, fields url.Values) bool {
	v := t.spec.Verify
	if v == nil || v.Secret == "" && v.Signature == "" {
		return false
	}
	if v.Secret != "" {
		where, name, _ := strings.Cut(v.Secret, ":")
		got := ""
		switch where {
		case "query":
			got = r.URL.Query().Get(name)
		case "field":
			switch got = fields.Get(name); {
			case got != "":
			case fields == nil && json.Valid(body):
				got = gjson.GetBytes(body, name).Str
			default:
				got = r.URL.Query().Get(name)
			}
		case "header":
			got = r.Header.Get(name)
		case "path":
			got = strings.TrimPrefix(rest, "/")
		case "basic":
			user, password, ok := r.BasicAuth()
			if !ok || !same(user, t.opt.InboundUser) {
				return false
			}
			got = password
		}
		if !same(got, t.opt.InboundSecret) {
			return false
		}
	}
	key := t.opt.InboundSecret
	if v.Key == "secret" {
		key = t.opt.Secret
	}
	public := t.opt.PublicURL + r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		public += "?" + r.URL.RawQuery
	}
	switch v.Signature {
	case "hmac":
		return t.hmac(*v, key, r, public, body)
	case "vonage":
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		return ok && vonage(token, key, body, t.opt.Now())
	case "plivo":
		if s := r.Header.Get("X-Plivo-Signature-V3"); s != "" {
			return plivoV3(r.Method, public, r.Header.Get("X-Plivo-Signature-V3-Nonce"), s, key, fields)
		}
		s := r.Header.Get("X-Plivo-Signature-V2")
		return plivoV2(public, r.Header.Get("X-Plivo-Signature-V2-Nonce"), s, key)
	}
	return true
}

var hashes = map[string]func() hash.Hash{"": sha256.New, "sha256": sha256.New, "sha1": sha1.New, "sha512": sha512.New}

func mac(h func() hash.Hash, key, message string) []byte {
	m := hmac.New(h, []byte(key))
	m.Write([]byte(message))
	return m.Sum(nil)
}

func (t *Transport) hmac(v Verify, key string, r *http.Request, public string, body []byte) bool {
	if key == "" {
		return false
	}
	timestamp := ""
	if v.TimestampHeader != "" {
		timestamp = r.Header.Get(v.TimestampHeader)
		at, err := strconv.ParseInt(timestamp, 10, 64)
		if err != nil || t.opt.Now().Sub(time.Unix(at, 0)).Abs() > window {
			return false
		}
	}
	over := v.Over
	if over == "" {
		over = "{body}"
	}
	tmpl, _ := parse(over, signed) // compile has read it
	message, _ := tmpl.render(values{text: map[string]string{"body": string(body), "timestamp": timestamp, "url": public, "method": r.Method}}, plainly)
	got, ok := strings.CutPrefix(r.Header.Get(v.Header), v.Prefix)
	if !ok {
		return false
	}
	sum := mac(hashes[v.Hash], key, message)
	if v.Encoding == "base64" {
		return same(got, base64.StdEncoding.EncodeToString(sum))
	}
	return same(strings.ToLower(got), hex.EncodeToString(sum))
}

// vonage checks a JWT that signs body: HS256 and nothing else, made within the
// window, with the hash of the exact bytes. Vonage's samples hash the body
// written anew; different bytes can read the same, so that would prove nothing.
func vonage(token, key string, body []byte, now time.Time) bool {
	head, rest, ok1 := strings.Cut(token, ".")
	claims, signature, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 || key == "" {
		return false
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var c struct {
		IssuedAt    float64 `json:"iat"`
		Expires     float64 `json:"exp"`
		NotBefore   float64 `json:"nbf"`
		PayloadHash string  `json:"payload_hash"`
	}
	if !decoded(head, &header) || header.Algorithm != "HS256" {
		return false
	}
	if !same(signature, base64.RawURLEncoding.EncodeToString(mac(sha256.New, key, head+"."+claims))) || !decoded(claims, &c) {
		return false
	}
	at := time.Unix(int64(c.IssuedAt), 0)
	if now.Sub(at).Abs() > window || c.Expires != 0 && now.After(time.Unix(int64(c.Expires), 0).Add(window)) || now.Add(window).Before(time.Unix(int64(c.NotBefore), 0)) {
		return false
	}
	sum := sha256.Sum256(body)
	return same(strings.ToLower(c.PayloadHash), hex.EncodeToString(sum[:]))
}

func decoded(s string, v any) bool {
	b, err := base64.RawURLEncoding.DecodeString(s)
	return err == nil && json.Unmarshal(b, v) == nil
}

// privateKey reads an RSA key in PEM form. Its errors show nothing of it.
func privateKey(b []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("no private key in PEM form (-----BEGIN PRIVATE KEY-----)")
	}
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if r, ok := k.(*rsa.PrivateKey); err == nil && ok {
		return r, nil
	}
	return nil, errors.New("not an RSA private key without a passphrase")
}

// vonageAccess makes the token that an application of Vonage's shows itself
// with: RS256, for a quarter of an hour, with a number of its own.
func vonageAccess(key *rsa.PrivateKey, application string, now time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{"application_id": application, "iat": now.Unix(), "exp": now.Add(15 * time.Minute).Unix(), "jti": rand.Text()})
	if err != nil {
		return "", errors.New("the token cannot be written")
	}
	enc := base64.RawURLEncoding.EncodeToString
	token := enc([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + enc(claims)
	sum := sha256.Sum256([]byte(token))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", errors.New("the private key cannot sign")
	}
	return token + "." + enc(signature), nil
}

// plivoV3 checks Plivo's third scheme, base64 HMAC-SHA256 over the URL with its
// query sorted, a dot, the form's names and values sorted, a dot, and the nonce.
// Several signatures may stand in the header, one for each token in force.
func plivoV3(method, target, nonce, signatures, token string, form url.Values) bool {
	u, err := url.Parse(target)
	if err != nil || nonce == "" || token == "" {
		return false
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return false
	}
	if method == http.MethodGet {
		form = nil
	}
	message := u.Scheme + "://" + u.Host + u.EscapedPath()
	if len(query) > 0 || len(form) > 0 {
		message += "?" + flat(query, "=", "&")
	}
	if len(query) > 0 && len(form) > 0 {
		message += "."
	}
	message += flat(form, "", "") + "." + nonce
	want := base64.StdEncoding.EncodeToString(mac(sha256.New, token, message))
	return slices.ContainsFunc(strings.Split(signatures, ","), func(s string) bool { return same(strings.TrimSpace(s), want) })
}

// plivoV2 checks what Plivo's callbacks about texts carry: base64 HMAC-SHA256
// over the URL without its query, and the nonce. It says nothing about the body.
func plivoV2(target, nonce, signatures, token string) bool {
	target, _, _ = strings.Cut(target, "?")
	if nonce == "" || token == "" {
		return false
	}
	want := base64.StdEncoding.EncodeToString(mac(sha256.New, token, target+nonce))
	return slices.ContainsFunc(strings.Split(signatures, ","), func(s string) bool { return same(strings.TrimSpace(s), want) })
}

// flat writes v sorted by name, then by value.
func flat(v url.Values, is, and string) string {
	var out []string
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		all := slices.Clone(v[name])
		slices.Sort(all)
		for _, value := range all {
			out = append(out, name+is+value)
		}
	}
	return strings.Join(out, and)
}
