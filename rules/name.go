package rules

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// firstName is the caller's first name as the PBX shows it, when it looks like
// a person's: carriers also send city names, companies and "WIRELESS CALLER".
// No name is better than a wrong one, so it is empty in case of doubt.
func firstName(shown string) string {
	last, first, comma := strings.Cut(shown, ",")
	if comma {
		shown = first + " " + last // "CALLER, SARAH"
	}
	words := strings.Fields(shown)
	if len(words) < 2 || len(words) > 3 {
		return ""
	}
	upper, lower, plain := true, true, true // how all the words are written
	for _, w := range words {
		letters := 0
		for _, r := range w {
			switch {
			case unicode.IsLetter(r):
				letters++
			case r != '-' && r != '\'' && r != '.':
				return ""
			}
			upper, lower, plain = upper && unicode.ToUpper(r) == r, lower && unicode.ToLower(r) == r, plain && r <= unicode.MaxASCII
		}
		if letters == 0 || listed(notPersons, strings.Trim(w, ".")) {
			return ""
		}
	}
	if place(words[len(words)-1]) || comma && place(words[0]) {
		return "" // "DALLAS TX", "DALLAS, TX": carriers show the place for numbers without a name
	}
	w := words[0]
	if !comma && (upper || lower) && plain {
		w = given(words)
	}
	if n := utf8.RuneCountInString(w); n < 2 || n > 20 || w[len(w)-1] == '.' {
		return ""
	}
	// A name written with capitals inside (McKay) stays as it is.
	if w != strings.ToUpper(w) && w != strings.ToLower(w) {
		return w
	}
	name := []rune(strings.ToLower(w))
	for i, r := range name {
		if i == 0 || !unicode.IsLetter(name[i-1]) {
			name[i] = unicode.ToUpper(r)
		}
	}
	return string(name)
}

// place tells whether a word is how a state or province is written.
func place(w string) bool { return len(w) == 2 && places[strings.ToUpper(w)] }

// listed looks a word up in lower case. Most are plain letters, for which no
// other string need be made.
func listed[V any](m map[string]V, w string) V {
	var b [24]byte
	if len(w) > len(b) || !ascii(w) {
		return m[strings.ToLower(w)]
	}
	for i := range len(w) {
		if b[i] = w[i]; 'A' <= w[i] && w[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return m[string(b[:len(w)])]
}

// given is the first name among words that carriers show in capitals and
// without a comma: some write SARAH MILLER, most write MILLER SARAH, and
// companies look the same. It is the one that is better known as a first name;
// empty when neither is known or both are equally.
func given(words []string) string {
	for len(words) > 1 && len(strings.Trim(words[len(words)-1], ".")) == 1 {
		words = words[:len(words)-1] // MILLER SARAH J
	}
	a, b := words[0], words[len(words)-1]
	switch how := known(a) - known(b); {
	case len(words) < 2:
		return ""
	case how > 0:
		return a
	case how < 0:
		return b
	}
	return ""
}

// known tells how well known a word is as a first name: 2, 1 when it is as well
// known as a surname, or 0. The first part of Anna-Lena decides.
func known(word string) int {
	word, _, _ = strings.Cut(word, "-")
	return listed(firstNames, word)
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}

// firstNames are the common ones of callers in North America. The list need not
// be whole: who is not on it is greeted without a name, and only where the name
// comes in capitals.
var firstNames = func() map[string]int {
	m := map[string]int{}
	for _, w := range strings.Fields(`aaron abby abdul abigail ada adam adela adrian adriana agnes ahmed aidan aimee aisha alan alana albert alberto alec alejandra alejandro alex
		alexa alexander alexandra alexis alfred alfredo ali alice alicia alison allison alma alondra alyssa amanda amber amelia amir amit amy ana
		andrea andres andrew andy angel angela angelica angelina angie anita ann anna anne annette annie anthony antonia antonio april ariana arlene
		arthur arturo ashley audrey autumn ava bailey barbara barry beatrice beatriz becky belinda ben benjamin benny bernadette bernard bernice
		bertha beth bethany betty beverly bill billy blanca bob bobby bonnie brad bradley brandi brandon brandy brenda brendan brent brian brianna
		bridget brittany brooke bruce bryan caitlin caleb calvin camila candace candice carl carla carlos carmen carol carole caroline carolyn
		carrie casey cassandra catherine cathy cecilia cedric cesar chad charlene charles charlie charlotte chelsea cheryl chloe chris christian
		christina christine christopher christy cindy claire clara clarence claudia cody colin colleen connie connor corey courtney craig cristina
		crystal curtis cynthia daisy dale damian damon dan dana daniel daniela danielle danny darlene darrell darren daryl dave david dawn dean
		deanna deborah debra delores denise derek desiree destiny devin diana diane diego dolores dominic dominique don donald donna doreen doris
		dorothy doug douglas duane dustin dwight dylan earl ed eddie edgar edith eduardo edward edwin eileen elaine eleanor elena eli elias elijah
		elizabeth ella ellen elmer elsa emily emma enrique eric erica erik erika erin ernest ernesto esteban estela esther ethan eugene eva evan
		evelyn faith fatima felicia felipe felix fernando florence fran frances francesca francis francisco frank fred freddie frederick gabriel
		gabriela gabrielle gail garry gary gavin gene genevieve geoffrey george georgia gerald geraldine gerardo gina giovanni gladys glenda glenn
		gloria grace greg gregory greta guadalupe guillermo gustavo guy gwen gwendolyn hailey hannah harold harriet harry hassan hazel heather
		hector heidi helen henry herbert herman hilda holly hope howard hugh hugo ian ibrahim ida ignacio imani inez irene iris irma isaac isabel
		isabella isaiah ivan jack jackie jacob jacqueline jacquelyn jade jaime jake jamal jamie jan jane janelle janet janice jared jasmine jason
		javier jay jayden jean jeanette jeanne jeff jeffery jeffrey jen jenna jennifer jenny jeremiah jeremy jermaine jerome jerry jesse jessica
		jesus jill jim jimmy jo joan joann joanna joanne joaquin jocelyn jodi jody joe joel johanna john johnny jon jonathan jorge jose josefina
		joseph josephine josh joshua joy joyce juan juana juanita judith judy julia julian juliana julie julio june justin kaitlyn karen karina karl
		karla kate katelyn katherine kathleen kathryn kathy katie katrina kay kayla keith kelsey ken kendra kenneth kenny kerry kevin kim kimberly
		kirk krista kristen kristi kristin kristina kristine kurt kyle lakshmi lana larry latoya laura lauren laurie lawrence leah leo leon leonard
		leonardo leroy leslie lester leticia liam lillian lily linda lindsay lindsey lisa liz lois lola lorenzo loretta lori lorraine louis louise
		lucas lucia lucille lucy luis luisa luke lupe luz lydia lynda lynn mabel mackenzie maddie madeline madison maggie malik mandy manuel marc
		marcella marcia marco marcos marcus margaret margarita maria mariah mariana marianne maribel marie marilyn mario marion marisol marissa
		marjorie mark marlene marsha marta martha marvin mary maryann mateo matt matthew maureen maurice max maya megan meghan melanie melinda
		melissa melody melvin mercedes meredith mia michael micheal michele michelle miguel mike mildred milton mindy minerva miranda miriam misty
		mitchell mohamed mohammad mohammed molly mona monica monique muhammad myra myrna myron myrtle nadia nancy naomi natalia natalie natasha
		nathan nathaniel neil nicholas nichole nick nicolas nicole nina noah noel noelle nora norma octavia olga olivia omar oscar otto owen pablo
		paige pam pamela patrice patricia patrick patti patty paul paula pauline pedro peggy penny pete peter phil philip phillip phyllis pierre
		preston priscilla priya rachael rachel rafael ralph ramiro ramon ramona randall randy raquel raul ravi ray raymond rebecca rebekah regina
		rene renee rex rhonda ricardo richard rick ricky rita rob robert roberta roberto robin robyn rochelle roderick rodney rodolfo rodrigo roger
		roland ron ronald ronnie rosa rosalie rosario rosemary roxanne roy ruben ruby rudy ruth ryan sabrina sally salvador sam samantha samuel
		sandra sandy sanjay santiago sara sarah sasha savannah sean selena serena sergio seth shane shannon shari sharon shaun shawn shawna sheila
		shelby shelly sheri sherri sherry shirley sidney sierra silvia simon sofia sonia sonya sophia sophie spencer stacey stacy stanley stefanie
		stella stephanie stephen steve steven stuart sue summer sunita suresh susan susana susanna suzanne sydney sylvia tabitha tamara tammy tania
		tanya tara tasha ted teresa teri terrance terrence terri terry thelma theodore theresa tiffany tim timothy tina toby todd tom tommy toni
		tony tonya tracey traci tracy travis trent trevor trina trisha tristan troy tyler tyrone ursula valeria valerie vanessa vera verna vernon
		veronica vicki vickie vicky victor victoria vijay vincent viola violet virginia vivian vladimir walter wanda wayne wendy wesley whitney
		wilbur will william willie wilma xavier ximena yesenia yolanda yusuf yvette yvonne zachary zoe`) {
		m[w] = 2
	}
	for _, w := range strings.Fields(`alexandre allen arnold austin blake brady bryant byron cameron carey carmelo carson carter cary chandler chase clark claude clay clayton
		clifford clifton clinton clyde cole cruz dallas darwin davis delgado dewey dexter drew elliott ellis elton emanuel everett fletcher floyd
		forrest franklin garrett gilbert gordon graham grant harley harper harrison harvey hayden hudson hunter irving israel jackson james
		jefferson jordan joyner kelley kelly kennedy kent kerr lance landon lane lee lewis lincoln lloyd logan london lyle mack marshall martin
		mason maxwell merle morgan morris murray nelson nolan norman oliver parker payton perry quinn reuben roman rose ross royal russell samson
		santos scott shea sherman skyler sterling stewart stone taylor terrell thomas tucker vaughn wade wallace warren wendell willard winston
		woody wyatt`) {
		m[w] = 1
	}
	return m
}()

// places are what the states of the US and the provinces of Canada are written as.
var places = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK
		OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC PR AB BC MB NB NL NS ON PE QC SK`) {
		m[w] = true
	}
	return m
}()

// notPersons are words that a person's name does not have.
var notPersons = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`wireless unknown unavailable anonymous private restricted cell phone mobile toll free
		spam scam likely risk telemarketer fraud inc llc ltd gmbh corp co company services service group center centre clinic office bank school
		mr mrs ms miss mx dr prof sir madam family name number unlisted blocked withheld out area pay phone public
		dental medical clinics auto plumbing insurance law legal realty construction electric roofing church store shop studio
		county city state department dept hospital university pharmacy restaurant hotel solutions systems international national customer
		support sales and the of
		front desk room main line reception lobby conference fax extension ext test guest admin unit depot hut buy amazon google voice verizon
		wireles cellular ups fedex usps walmart paypal com net org usa pizza taxi cab hair nails salon motors tire tires bros sons assoc associates
		san santa saint st fort port mount mt beach lake los las new north south east west chapel ministries temple papa trader`) {
		m[w] = true
	}
	return m
}()
