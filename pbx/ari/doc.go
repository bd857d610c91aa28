// Package ari is in charge of Asterisk: its websocket and REST interface on
// one side, leg facts for the tracker on the other. It asks for no dialplan
// change and sends Asterisk no command that changes a call.
package ari
