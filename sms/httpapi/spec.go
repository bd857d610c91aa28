package httpapi

// Spec says how one provider is spoken to over HTTP: what a request looks like,
// how its answer is read, and how replies and receipts come back. Presets are
// Specs in the same words as an admin's own; configs/textback.yaml explains them.
type Spec struct {
	// URL is {url} where the configuration gives none.
	URL string `yaml:"url"`
	// Needs are the placeholders that the configuration must fill, each with what it is.
	Needs map[string]string `yaml:"needs"`
	// Setup is what must be set up on the provider's side, in a sentence or two.
	Setup       string `yaml:"setup"`
	PerMinute   int    `yaml:"per_minute"`   // texts a minute; 0: no limit is known
	MaxSegments int    `yaml:"max_segments"` // of one text; 0: no limit of its own
	AnswersStop bool   `yaml:"answers_stop"`

	Request  *Request  `yaml:"request"`
	Response *Response `yaml:"response"`
	Inbound  *Inbound  `yaml:"inbound"`
	Receipt  *Receipt  `yaml:"receipt"`
	Verify   *Verify   `yaml:"verify"`
}

// Request is the template of a submission. Values are templates with
// placeholders such as {to}; each is escaped for the place it stands in.
type Request struct {
	Method  string            `yaml:"method"` // GET, POST or PUT; empty is POST
	URL     string            `yaml:"url"`
	Query   map[string]string `yaml:"query"`
	Headers map[string]string `yaml:"headers"`
	// Auth is basic or bearer (both with {secret}), vonage (a token signed with the
	// private key of {application}, basic without one), or empty.
	Auth    string `yaml:"auth"`
	User    string `yaml:"user"`    // of basic; empty is {user}
	Numbers string `yaml:"numbers"` // plus, digits or 00; empty is plus
	// Callback is added to the query of {callback}. Its literal parts are not
	// escaped: they may be placeholders of the provider's, such as %d.
	Callback map[string]string `yaml:"callback"`

	// At most one of these is the body.
	Form map[string]string `yaml:"form"`
	JSON string            `yaml:"json"` // strings in it are templates; one that is a number placeholder alone becomes a number
	XML  string            `yaml:"xml"`
	Text string            `yaml:"text"`
}

// Match is met when everything it names is met. The zero Match is met by nothing.
type Match struct {
	Status []int             `yaml:"status"` // one of these HTTP statuses
	JSON   map[string]string `yaml:"json"`   // paths and regular expressions that the whole value meets
	Text   string            `yaml:"text"`   // a regular expression that is found in the body
}

// Response says how an answer is read. What it does not know is sorted by its
// HTTP status, and what that does not tell is ambiguous.
type Response struct {
	Accepted Match  `yaml:"accepted"`
	ID       string `yaml:"id"`       // json:PATH, text:REGEX or header:NAME
	Segments string `yaml:"segments"` // the same
	Code     string `yaml:"code"`     // the same

	Codes    map[string]string `yaml:"codes"`    // the provider's code → class; "*" is every other
	Refused  []Refusal         `yaml:"refused"`  // asked before codes, the first that is met
	Statuses map[string]string `yaml:"statuses"` // HTTP status → class
}

// Refusal is a definite no that is known by its look.
type Refusal struct {
	Status []int             `yaml:"status"`
	JSON   map[string]string `yaml:"json"`
	Text   string            `yaml:"text"`
	Class  string            `yaml:"class"`
}

// Event says where a webhook's fields are. Fields are names of form or query
// parameters, or JSON paths; query:NAME is a parameter of the URL in any format.
type Event struct {
	Method []string          `yaml:"method"` // empty is POST
	Format string            `yaml:"format"` // form, query or json; empty is form
	Each   string            `yaml:"each"`   // JSON path of a list of events; "." when the body is the list
	When   map[string]string `yaml:"when"`   // fields and regular expressions that the whole value meets
	// Answer is sent with 200 once the event is on disk; empty is an empty answer.
	Answer     string `yaml:"answer"`
	AnswerType string `yaml:"answer_type"`
	Time       string `yaml:"time"`
	TimeFormat string `yaml:"time_format"` // rfc3339, unix, unix_ms, or such as "YYYY-MM-DD hh:mm:ss" (UTC); empty is rfc3339
}

// Inbound is how texts from phones arrive.
type Inbound struct {
	Event Event `yaml:"event"`

	From     string            `yaml:"from"`
	To       string            `yaml:"to"`
	Text     string            `yaml:"text"`
	Charset  string            `yaml:"charset"` // the field that names the text's encoding, where it is not always UTF-8
	ID       string            `yaml:"id"`
	IDWith   []string          `yaml:"id_with"` // fields that make an id of one that is counted anew after a reset
	Numbers  string            `yaml:"numbers"` // international or local; empty is international
	Keyword  string            `yaml:"keyword"`
	Keywords map[string]string `yaml:"keywords"` // values of keyword → STOP, START or HELP
	Media    string            `yaml:"media"`    // a count, or a JSON list
	Parts    *Parts            `yaml:"parts"`
}

// Parts are the fields of a long text that is delivered in pieces.
type Parts struct {
	Ref    string `yaml:"ref"`
	Number string `yaml:"number"` // from 1
	Total  string `yaml:"total"`
}

// Receipt is how delivery receipts arrive.
type Receipt struct {
	Event Event `yaml:"event"`

	ID        string            `yaml:"id"`         // the provider's id of the text
	MessageID string            `yaml:"message_id"` // ours, where it is echoed
	Status    string            `yaml:"status"`
	Statuses  map[string]string `yaml:"statuses"` // → en_route, delivered or undelivered; others are en_route
	Code      string            `yaml:"code"`
	Codes     map[string]string `yaml:"codes"` // → class; "*" is every other
}

// Verify is how a webhook proves where it comes from. Everything given must hold.
type Verify struct {
	// Secret is where the shared secret stands: query:NAME, field:NAME (of a form,
	// a query or a JSON body), header:NAME, path (after /inbound/ and /status/) or
	// basic (with inbound_user).
	Secret string `yaml:"secret"`

	// Signature is hmac, vonage (JWT, HS256, with payload_hash) or plivo (V3, and V2 for texts).
	Signature string `yaml:"signature"`
	// Key is which secret signs: inbound_secret (when empty) or secret.
	Key string `yaml:"key"`

	// For hmac:
	Header          string `yaml:"header"`
	Prefix          string `yaml:"prefix"`   // in front of the signature, such as "sha256="
	Hash            string `yaml:"hash"`     // sha256, sha1 or sha512; empty is sha256
	Encoding        string `yaml:"encoding"` // hex or base64; empty is hex
	Over            string `yaml:"over"`     // {body}, {timestamp}, {url}, {method}; empty is {body}
	TimestampHeader string `yaml:"timestamp_header"`
}
