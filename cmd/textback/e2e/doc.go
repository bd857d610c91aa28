// Package e2e holds the end-to-end tests: the built daemon beside a real
// Asterisk, real calls, and a provider that counts. It has no code but tests.
package e2e
