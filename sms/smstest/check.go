package smstest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"textback/sms"
)

// Discreet looks in an error, however it is printed, for what none may hold.
func Discreet(t *testing.T, err error, secrets ...string) {
	t.Helper()
	for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("error holds %q: %s", secret, text)
			}
		}
	}
}

// Fails checks that err is an *sms.Error with a class and a code, and that it is Discreet.
func Fails(t *testing.T, err error, class sms.Class, code string, secrets ...string) {
	t.Helper()
	var e *sms.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *sms.Error of class %s", err, class)
	}
	if e.Class != class || e.Code != code {
		t.Errorf("got class %s, code %q (%v); want %s, %q", e.Class, e.Code, err, class, code)
	}
	Discreet(t, err, secrets...)
}
