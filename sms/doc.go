// Package sms is in charge of everything between a finished call and one text:
// the decision's record, its delay, the hand-over to a provider, and what is
// known of its fate.
//
// # The machine
//
//	            decided against ──▶ suppressed
//	call ─▶ plan ─▶ scheduled ─▶ submitting ─▶ sent
//	                 │  ▲  │          │ │ └───▶ failed   refused for good
//	                 │  └──┼──────────┘ └─────▶ held     fate unknown: an admin decides
//	                 │     └▶ failed   not taken while fresh
//	                 └──────▶ cancelled reached, opted out, stale … before it left
//
// Beside texts there are tasks (a callback that staff owes a caller: scheduled ─▶
// open ─▶ done, or cancelled), answers to keywords and notices to staff. All are
// jobs, and a call's jobs carry its id: -1 is its first text, -2 and on are what
// follows it, -t is the callback. Under mode: shadow texts end as shadow at once.
//
// Each arrow is one atomic batch in the stream SMS: the job's new record, made
// on the very version that was read (compare and set), the caller's record and
// an event. Acknowledgements of messages are only hints: after a kill they come
// again, and whoever gets one looks at the record first.
//
// # Never two
//
// A job's id is made of its call, and its record is created only where there is
// none. It becomes submitting in a batch that also asserts that the caller's
// record has not changed since the guards were asked: an opt-out, a call that
// got through or another plan stored before always wins. Only who stored that
// batch calls the provider, once. What was submitting when a process died is
// never submitted again by itself, except to a transport that honours the
// job's id as an idempotency key, and only after all guards have been asked again; it
// is looked up where the provider can be asked, else held.
//
// Of several transports a text takes the first that serves its region and whose
// circuit breaker is closed. Only a definite refusal lets the next one try; what
// one may have taken is its own for ever, and nobody else's, whatever it says to a
// later attempt.
//
// # Guards
//
// The rules' guards are asked when a call has ended and again when its text is
// due. Budgets are records in the same stream, and are reserved in the batch that
// makes a job submitting, on the very versions that the guards saw: however many
// senders there are, a budget is never exceeded. What is counted stays counted,
// whatever the provider says then; a text that is tried again has its place. A
// breaker is a record too, so that an outage outlives restarts. Whoever could not be
// texted in time, or whose text was not delivered, is owed a callback, one to each
// owner: a late text only puzzles.
//
// # Never none
//
// A call is acknowledged to CALLS only once its job is stored, and the next one
// comes only then, after a kill too: in the order in which they ended. It leaves
// LIVE only once it is in CALLS, so that no call is in neither. A job carries
// its due time; the timer that wakes it is a message schedule in the same
// batch, and a scan at start and every minute finds jobs whose timer was lost.
// What the provider definitely did not take is tried again while it is fresh.
//
// # What comes back
//
// A transport leaves what arrives with an Inbox, and acknowledges to its provider
// only once that has it on disk. A text's effects are stored in one batch together
// with a mark that can be created once, however often the text is offered. What
// comes before the batch does no harm when it is repeated: the words go into CONV,
// and a STOP onto the list of opt-outs first of all, so that no submission can begin
// any more. Receipts find their job by the provider's id; one that comes before our
// own answer is stored waits where whoever stores that answer looks.
//
// Where a transport gives neither id nor time, what was said again looks like what is
// offered again. Of keywords the list of opt-outs tells: a STOP is new whenever the
// caller is welcome, a START is not while the one before it may still be offered again.
//
// A reply joins the episode and cancels what was planned in case there is none. A
// first text that waits stays: it is about a call, which a text does not settle.
// Texts that seem to come from a machine (short codes, our own numbers, the same
// words again and again, more than a person types, "out of office") cancel nothing,
// are answered by nothing, and reach staff once in a while; a STOP of theirs counts.
// The only automatic answers are those to keywords. They are jobs like texts, and
// leave by the way the question came, at night and to whoever has opted out too.
//
// Staff is told through jobs as well, over a consumer of its own, so that no text
// waits for a mail server; at least once by e-mail and webhook, at most once by text.
// More notices than a person wants come as one digest.
//
// Words are kept for 30 days, numbers for 90, or as the configuration says. The
// opt-outs stay for ever, as hashes keyed with caller.key.
//
// # What remains
//
// A process that dies between handing a text to a provider that can neither be
// asked nor honours ids, and storing the answer, leaves it held: textback does
// not know, and says so.
package sms
