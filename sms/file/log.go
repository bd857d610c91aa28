package file

import (
	"context"
	"log/slog"

	"textback/pbx/number"
	"textback/sms"
)

// Log writes each text to a logger in place of sending it: what would have
// gone out, in full, because seeing that is what it is for. Numbers show their
// first and last two digits unless ShowNumbers is set: logs are kept and passed
// on. The words are shown, and with them the caller's name where the template
// uses it. The zero Log writes to slog.Default. It is safe for concurrent use.
type Log struct {
	Logger      *slog.Logger
	ShowNumbers bool
}

// HonoursID reports true: no phone hears of a second line.
func (l Log) HonoursID() bool { return true }

// Submit writes m to the log. It never fails.
func (l Log) Submit(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	logger := l.Logger
	if logger == nil {
		logger = slog.Default()
	}
	from, to := m.From, m.To
	if !l.ShowNumbers {
		from, to = number.Mask(from), number.Mask(to)
	}
	logger.LogAttrs(ctx, slog.LevelInfo, "not sent, the transport is log: this text would have gone out",
		slog.String("id", m.ID), slog.String("from", from), slog.String("to", to), slog.String("text", m.Body))
	return sms.Receipt{ProviderID: m.ID, Status: "logged"}, nil
}
