// Package bus is in charge of the NATS side that watcher and sender share: the
// embedded server, connections and their rights, the streams CALLS and LIVE,
// and the Publisher, which brings every finished call into CALLS exactly once.
//
// # What can be lost
//
// Publisher.Finished returns once the call is on disk in the spool file, synced.
// From then on neither a kill, a power cut nor NATS being away loses it: it is
// published until it is stored, and what the stream already has is not stored
// twice. What remains is the moment before Finished returns: between the PBX's
// last event about a call and that sync (a few milliseconds), a kill loses the
// verdict. At the next start the call's entry in LIVE shows that it had been
// in progress, and it is published as unknown, not certain, with the gap
// events_lost: listed for people, never texted. A call that began and ended
// entirely while textback was away leaves no trace here.
package bus
