package rules

import (
	"fmt"
	"strings"
	"time"
)

// words are how computed values read in one language. They keep to the GSM
// alphabet, where one letter more would halve the room: sabado, aout.
type words struct {
	at       func(clock string, hour int) string // "at 8:00"
	tomorrow string                              // "tomorrow at 8:00": the day, then the clock
	weekday  func(w time.Weekday) string         // "Monday"
	day      func(month time.Month, day int) string
	minutes  func(n int) string
	short    [7]string // from Monday
	clock    func(hour, minute int) string
	clock12  func(hour, minute int) string // where people have one of twelve hours; may be nil
	all      string                        // around the clock
}

// spoken are the languages in which values have words.
var spoken = map[string]*words{
	"en": {
		at:       func(clock string, _ int) string { return "at " + clock },
		tomorrow: "tomorrow",
		weekday:  time.Weekday.String,
		day:      func(m time.Month, d int) string { return fmt.Sprintf("%s %d", m, d) },
		minutes: func(n int) string {
			if n == 1 {
				return "a minute"
			}
			return fmt.Sprintf("%d minutes", n)
		},
		short: [7]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}, clock: clock24, clock12: twelve("AM", "PM"), all: "24 h",
	},
	"es": {
		at: func(clock string, hour int) string {
			if hour == 1 || hour == 13 && !strings.HasPrefix(clock, "13") {
				return "a la " + clock
			}
			return "a las " + clock
		},
		tomorrow: "mañana",
		weekday: func(w time.Weekday) string {
			return "el " + [7]string{"domingo", "lunes", "martes", "miércoles", "jueves", "viernes", "sabado"}[w]
		},
		day: func(m time.Month, d int) string {
			return fmt.Sprintf("el %d de %s", d, strings.Fields("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre")[m-1])
		},
		minutes: func(n int) string {
			if n == 1 {
				return "un minuto"
			}
			return fmt.Sprintf("%d minutos", n)
		},
		short: [7]string{"lun", "mar", "mié", "jue", "vie", "sab", "dom"}, clock: clock24, clock12: twelve("am", "pm"), all: "24 h",
	},
	"de": {
		at:       func(clock string, _ int) string { return "um " + clock + " Uhr" },
		tomorrow: "morgen",
		weekday: func(w time.Weekday) string {
			return "am " + [7]string{"Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"}[w]
		},
		day: func(m time.Month, d int) string {
			return fmt.Sprintf("am %d. %s", d, strings.Fields("Januar Februar März April Mai Juni Juli August September Oktober November Dezember")[m-1])
		},
		minutes: func(n int) string {
			if n == 1 {
				return "eine Minute"
			}
			return fmt.Sprintf("%d Minuten", n)
		},
		short: [7]string{"Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"}, clock: clock24, all: "24 Std.",
	},
	"fr": {
		at:       func(clock string, _ int) string { return "à " + clock },
		tomorrow: "demain",
		weekday: func(w time.Weekday) string {
			return [7]string{"dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"}[w]
		},
		day: func(m time.Month, d int) string {
			first := ""
			if d == 1 {
				first = "er"
			}
			return fmt.Sprintf("le %d%s %s", d, first, strings.Fields("janvier février mars avril mai juin juillet aout septembre octobre novembre décembre")[m-1])
		},
		minutes: func(n int) string {
			if n == 1 {
				return "une minute"
			}
			return fmt.Sprintf("%d minutes", n)
		},
		short: [7]string{"lun", "mar", "mer", "jeu", "ven", "sam", "dim"}, clock: func(h, m int) string { return fmt.Sprintf("%dh%02d", h, m) }, all: "24h",
	},
}

// figures are for languages without words of their own: numbers only, which
// everybody reads.
var figures = &words{
	at:      func(clock string, _ int) string { return clock },
	day:     func(m time.Month, d int) string { return fmt.Sprintf("%d.%d.", d, m) },
	minutes: func(n int) string { return fmt.Sprintf("%d min", n) },
	clock:   clock24, all: "24 h",
}

// wordsOf are a language's words, with a clock of twelve hours where it has one and twelve asks for it.
func wordsOf(language string, twelve bool) *words {
	w := spoken[language]
	switch {
	case w == nil:
		return figures
	case twelve && w.clock12 != nil:
		other := *w
		other.clock = w.clock12
		return &other
	}
	return w
}

func clock24(hour, minute int) string { return fmt.Sprintf("%d:%02d", hour, minute) }

// twelve is a clock of twelve hours: "8 AM", "12:30 PM". Hour 24 is midnight.
func twelve(am, pm string) func(hour, minute int) string {
	return func(hour, minute int) string {
		half := am
		if hour%24 >= 12 {
			half = pm
		}
		if hour %= 12; hour == 0 {
			hour = 12
		}
		if minute == 0 {
			return fmt.Sprintf("%d %s", hour, half)
		}
		return fmt.Sprintf("%d:%02d %s", hour, minute, half)
	}
}

// opening says when the office opens, at t, to somebody who reads it at read:
// "tomorrow" means another day once midnight has passed.
func (w *words) opening(t, read time.Time) string {
	at := w.at(w.clock(t.Hour(), t.Minute()), t.Hour())
	read = read.In(t.Location())
	// Noons are whole days apart but for an hour or two, whatever summer time does.
	switch days := int((dateOf(t).in(t.Location()).Sub(dateOf(read).in(t.Location())) + 12*time.Hour) / (24 * time.Hour)); {
	case days <= 0:
		return at
	case days == 1 && w.tomorrow != "":
		return w.tomorrow + " " + at
	case days < 7 && w.weekday != nil:
		return w.weekday(t.Weekday()) + " " + at
	}
	return w.day(t.Month(), t.Day()) + " " + at
}

// week is an office's hours in short: "Mon-Thu 8:00-12:00, 13:00-17:00; Fri 8:00-13:00".
func (w *words) week(s *schedule) string {
	var parts []string
	gs := s.groups()
	for _, g := range gs {
		var spans []string
		for _, sp := range g.spans {
			if sp == (span{0, 24 * 60}) {
				spans = append(spans, w.all)
			} else {
				spans = append(spans, w.clock(sp.from/60, sp.from%60)+"-"+w.clock(sp.to/60, sp.to%60))
			}
		}
		days := w.short[g.first]
		switch {
		case days == "": // no words: the days as numbers, Monday is 1 (ISO 8601)
			days = fmt.Sprint(g.first + 1)
			if g.last > g.first {
				days += fmt.Sprintf("-%d", g.last+1)
			}
		case g.last > g.first:
			days += "-" + w.short[g.last]
		}
		if g.first == 0 && g.last == 6 && spans[0] == w.all {
			return w.all
		}
		parts = append(parts, days+" "+strings.Join(spans, ", "))
	}
	return strings.Join(parts, "; ")
}
