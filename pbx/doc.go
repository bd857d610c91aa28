// Package pbx is in charge of what a call is: its vocabulary (Call, Leg,
// Attempt, Outcome) and the Tracker, which takes facts about legs with their
// times and gives back calls with their outcomes. It is pure: no I/O, no
// clock, no goroutine. Sources of facts live in packages below (pbx/ari), so
// a recording and a living PBX share every line of the classification.
package pbx
