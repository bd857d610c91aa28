package lab

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// needed are the modules that the scenarios use; loading no others saves
// seconds of every boot. Those a version does not have are left out.
var needed = regexp.MustCompile(`^(` + strings.Join([]string{
	`app_(dial|directed_pickup|playback|queue|read|stack|verbose|voicemail|mixmonitor)`, `bridge_.*`, `chan_pjsip`,
	`codec_(gsm|ulaw|alaw|resample)`, `format_(gsm|pcm|wav)`, `func_(callerid|channel|cut|db|devstate|dialplan|global|logic|strings|timeout|hangupcause)`,
	`pbx_config`, `res_(adsi|agi|ari.*|convert|crypto|hep|hep_pjsip|http_websocket|limit|monitor|musiconhold|mutestream|parking|pjproject|smdi|speech|timing_timerfd|websocket_client)`,
	`res_pjsip`, `res_pjsip_(acl|authenticator_digest|caller_id|diversion|dlg_options|dtmf_info|endpoint_identifier_ip|header_funcs|mwi|mwi_body_generator|nat|pubsub|refer|registrar|rfc3326|sdp_rtp|session)`,
	`res_rtp_asterisk`, `res_sorcery_(astdb|config|memory)`, `res_stasis.*`,
}, "|") + `)\.so$`)

// files are the configuration by name under /etc/asterisk; what is not here
// stays as the package has it.
func (n network) files(modules []string) map[string]string {
	load := "[modules]\nautoload = no\n"
	for _, m := range modules {
		if m = filepath.Base(m); needed.MatchString(m) && m != "app_voicemail_odbc.so" && m != "res_stasis_test.so" {
			load += "load = " + m + "\n"
		}
	}
	files := map[string]string{
		"modules.conf": load,
		"ari.conf":     fmt.Sprintf("[general]\nenabled = yes\n[%s]\ntype = user\npassword = %s\n", ARIUser, ARIPassword),
		"http.conf":    "[general]\nenabled = yes\nbindaddr = " + n.pbx() + "\nbindport = 8088\n",
		"rtp.conf":     "[general]\nrtpstart = 10000\nrtpend = 20000\n",
		"logger.conf":  "[general]\n[logfiles]\nconsole => notice,warning,error,verbose(3)\n",
		"features.conf": "[general]\npickupexten = *8\ntransferdigittimeout = 3\natxfernoanswertimeout = 6\n" +
			"[featuremap]\natxfer => *2\n",
		"hep.conf":     fmt.Sprintf("[general]\nenabled = yes\ncapture_address = %s\ncapture_password = %s\ncapture_id = 22\nuuid_type = call-id\n", n.hep(), HEPKey),
		"manager.conf": "[general]\nenabled = no\n",
	}
	pjsip := fmt.Sprintf("[udp]\ntype = transport\nprotocol = udp\nbind = %s:5060\n", n.pbx()) +
		n.endpoint("trunk", "from-trunk", "", "", n.addr(2, 0)+"/24", n.addr(3, 0)+"/24")
	trunk := "[from-trunk]\n"
	inside := `[globals]
TRANSFER_CONTEXT = from-internal

[from-internal]
exten => _1XXX,1,Dial(PJSIP/${EXTEN},4,tT)
 same => n,Hangup()
exten => *8,1,Pickup()
`
	further := `
[sub-confirm]
exten => s,1,Read(OK,beep,1,,1,3)
 same => n,Set(GOSUB_RESULT=${IF($["${OK}" = "1"]?:CONTINUE)})
 same => n,Return()
`
	queues := "[general]\npersistentmembers = no\nautofill = yes\n"
	parking := "[general]\n"
	mail := "[general]\nformat = wav\nminsecs = 0\nmaxsilence = 0\n[default]\n"
	all := Scenarios()
	for i := range all {
		s := &all[i]
		for k := range phonesPerScenario {
			ext := s.Extension(string(rune('a' + k)))
			contact := fmt.Sprintf("sip:%s@%s:5060", ext, n.phone(s, k+1))
			if s.unregistered && k == 0 {
				contact = ""
			}
			more := fmt.Sprintf("callerid = Phone %s <%s>\nnamed_call_group = %s\nnamed_pickup_group = %s", ext, ext, s.Name, s.Name)
			pjsip += n.endpoint(ext, "from-internal", more, contact, n.phone(s, k+1))
		}
		if s.plan != "" {
			apps := strings.Split(s.fill(s.plan), "\n")
			trunk += "exten => " + s.did() + ",1," + strings.Join(append(apps, "Hangup()"), "\n same => n,") + "\n"
		}
		for _, out := range []string{strings.TrimPrefix(s.Number, "+1"), s.mobile()} {
			inside += fmt.Sprintf("exten => %s,1,Set(CALLERID(num)=%s)\n same => n,Dial(PJSIP/trunk/sip:%s@%s:5060,4)\n same => n,Hangup()\n",
				out, s.Line, out, n.far(s))
		}
		inside += fmt.Sprintf("exten => %s,1,Park(%s)\nexten => %s,1,ParkedCall(%s,%s)\n", s.lot(), s.Name, s.slot(), s.Name, s.slot())
		further += s.fill(s.further) + "\n"
		if s.queue != "" {
			queues += "[" + s.Name + "]\nstrategy = ringall\n" + s.fill(s.queue) + "\n"
		}
		parking += fmt.Sprintf("[%s]\nparkpos = %s-%s\ncontext = parkedcalls-%s\nparkingtime = 3\ncomebacktoorigin = no\ncomebackcontext = parkedcallstimeout\n",
			s.Name, s.slot(), s.slot(), s.Name)
		mail += s.Extension("a") + " => 1234,Phone " + s.Extension("a") + "\n"
	}
	further += "\n[parkedcallstimeout]\nexten => _[A-Z].,1,Hangup()\n"
	files["pjsip.conf"] = pjsip
	files["extensions.conf"] = inside + trunk + further
	files["queues.conf"] = queues
	files["res_parking.conf"] = parking
	files["voicemail.conf"] = mail
	return files
}

// endpoint is a phone or trunk that is known by the addresses it calls from.
// mailboxes stays unset: an unasked NOTIFY would end a scripted phone.
func (n network) endpoint(name, context, more, contact string, from ...string) string {
	if contact != "" {
		contact = "contact = " + contact
	}
	return fmt.Sprintf(`
[%[1]s]
type = endpoint
context = %[2]s
disallow = all
allow = ulaw
direct_media = no
media_address = %[6]s
bind_rtp_to_media_address = yes
aors = %[1]s
%[3]s
[%[1]s]
type = aor
max_contacts = 1
%[4]s
[%[1]s]
type = identify
endpoint = %[1]s
match = %[5]s
`, name, context, more, contact, strings.Join(from, ","), n.pbx())
}
