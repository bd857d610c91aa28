package rules

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// firstName is the first name in what the PBX shows of a caller, or an address
// book of a contact, when it looks like a person's. Carriers also send city names,
// companies and "WIRELESS CALLER", so of theirs only well-known first names count. No
// name is better than a wrong one: it is empty in case of doubt.
func firstName(shown string, book bool) string {
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
		if letters == 0 {
			return ""
		}
		switch listed(notPersons, strings.Trim(w, ".")) {
		case never:
			return ""
		case firm:
			if !book {
				return ""
			}
		}
	}
	if place(words[len(words)-1]) || comma && place(words[0]) {
		return "" // "DALLAS TX", "DALLAS, TX": carriers show the place for numbers without a name
	}
	w := words[0]
	switch {
	case book && (comma || !upper && !lower || !plain):
	case comma && known(w) == 0 && !surname(words[len(words)-1]):
		return "" // "BOSTON, MASS"; but "WASHINGTON, DENZEL"
	case comma:
		// "ATLANTA, GEORGIA" and "MILLER, GEORGIA".
		if other := words[len(words)-1]; listed(towns, w) == aState && (known(w) == 0 || !surname(other) || listed(towns, other) != 0) {
			return ""
		}
	default:
		w = given(words, upper || lower, book)
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

// given is the first name among words that come without a comma. Written in one
// case, as carriers do, some have SARAH MILLER, most MILLER SARAH, and companies look
// the same: it is the one that is better known as a first name. Otherwise it is the
// first word, unless the last is the better known one. It is empty when none is
// known, and, but for an address book's, where it may be a place or a thing.
func given(words []string, either, book bool) string {
	for len(words) > 1 && len(strings.Trim(words[len(words)-1], ".")) == 1 {
		words = words[:len(words)-1] // MILLER SARAH J
	}
	if len(words) < 2 {
		if w := words[0]; !either && known(w) == 2 && listed(towns, w) == 0 && !listed(things, w) {
			return w // Sarah M.; but SARAH M may be either
		}
		return ""
	}
	first, other := words[0], words[len(words)-1]
	a, b := known(first), known(other)
	switch {
	case either && b > a:
		first, other, a = other, first, b
	case a == 0 || b > a || either && b == a:
		return ""
	}
	if book {
		return first
	}
	there := listed(towns, other) != 0
	if (listed(towns, first) != 0 || listed(things, first)) && (there || !surname(other)) {
		return "" // Georgia Power, Dallas Cowboys, Crystal Clear; but Georgia Miller
	}
	if there && (a < 2 || !surname(other)) {
		return "" // Everett Washington; but Sarah Washington
	}
	return first
}

// known tells how well known a word is as a first name: 2, 1 when it is as well
// known as a surname, or 0. The first part of Anna-Lena decides.
func known(word string) int {
	word, _, _ = strings.Cut(word, "-")
	return listed(firstNames, unaccented(word))
}

// surname tells whether a word is among the most common surnames.
func surname(word string) bool {
	return listed(surnames, strings.Replace(unaccented(word), "'", "", 1)) // O'Brien
}

// unaccented is how a name is listed: Jürgen stands there as jurgen.
func unaccented(word string) string {
	if ascii(word) {
		return word
	}
	var b strings.Builder
	for _, r := range norm.NFD.String(word) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case r == 'ł' || r == 'Ł':
			b.WriteByte('l')
		case r == 'ø' || r == 'Ø':
			b.WriteByte('o')
		case r == 'ß':
			b.WriteString("ss")
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}

// firstNames are the common ones of callers in North America. The list need not
// be whole: who is not on it is greeted without a name. Accents are left out.
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
		wilbur will william willie wilma xavier ximena yesenia yolanda yusuf yvette yvonne zachary zoe
		al allie andre art bea bert bev billie candy carly cass cecil chuck clem cliff cora cory dee dell dottie ellie elsie ernie etta eve evie fay faye
		flora gabby gabe gil ginny gracie gus hal hank hettie izzy janie jenni jeri jess joanie joey josie jules kari kat kathi kathie kris kristie laney lara
		len lenny les lexi liza lou louie luther lyla mae mamie marge margie mattie mavis maxine mel mick mickey millie minnie moe nan nat nate ned nell
		nellie netta nettie nita noreen norm ollie pat patsy polly quincy randi reggie robbie rodger ronny roscoe roslyn rudolph rufus rusty sal sallie sammy
		saul sid tess tessa thea theda tia tod ty val velma vic vince walt wes winnie zach zack zelda
		aaliyah addison aditi aditya agata agnieszka aiden aisling ajay akira alessandra alessandro alfie alina aline alistair alok amina aminata anders
		andreas andrei andrzej aneta angus anh anil anja anjali anke ankit annika anouk antoine anton antonella aoife apinya archie arjun arnaud arun ashok
		asif astrid aubrey aurelie avery axel ayesha barbora bartek bartosz beata bernd birgit bjorn bogdan boris brayden brielle brody bruno bryce callie
		callum camille carsten catalina cedrick celine chantal cheng chiara christoph christophe ciara claudine clemens clementine colton conor corinne
		cristian dagmar damien danilo danuta daria darius dariusz deandre declan deepa deepak demetrius denis deshawn detlef devon dieter dimitri dinesh dirk
		divya dmitri dmitry dominick dominik dorota duncan ebony eilidh ekaterina eleni eliana elif elise elodie eloise elspeth emerson emil emilia emilie
		emmanuel emre enzo erich ernst esperanza estelle everly ewa ewan ezra fabian fabienne farah fatemeh fatma federico fergus finlay fiona florian
		francois francoise franz freda freya frida friedrich fumiko gareth gaurav gemma geoff georg georgina gerhard gianna gianni giles gilles giorgio giulia
		gopal gordana graciela graeme grayson grazyna grzegorz guido gunther hamish hamza hana hanna hannes hans harish hattie heike heinrich heinz helena
		helene helga helmut herve hilary hiroshi horst huong hussein iain ignatius igor imogen ingrid irina isabelle isla isobel istvan ivana iwona jace jakub
		jalen jamar jamila jana janina janusz jaroslav jasmin jaspreet jaxon jemima jerzy jiri joachim jochen johan johann johannes jolanta jorg josef josip
		jozef juergen jurgen justyna kamal kamil kapil kareem karim karin karolina karthik katarina katarzyna katharina kathrin katja katya kavita kaylee
		keisha kenji kerstin khadija khalid kieran kinsley kiran kirsty klaus konrad konstantin krishna krystyna krzysztof kumiko lachlan lakeisha lars laszlo
		latasha latisha laurent layla leann leanne leila lena lenka leszek lev levi lila linh lorena lorna lothar louisa lubna luca luciana lucie ludwig lukas
		lukasz luna maciej maeve magda magdalena magnus mahesh mairead malgorzata manfred manish manoj manon manuela marcelo marcin marek margit margot mariam
		marika marina marius marko marlies marquis martina martyna masha matej mateusz mathieu mathilde matteo matthias mattias mauricio maverick maximilian
		mehdi mehmet mhairi michal mihai mikhail mila milan milena milo milos minh mirko miroslav mohan mohit moira monika moritz mustafa nadine naveen neha
		nele niall niamh nicky nicola nicolai niels nigel nikhil nikita niklas nikola nikolai nils nisha nitin nuala nuria oisin oksana olaf ole oleg olena
		olivier omid orla osama padraig paola paolo pascal patrik pavel pavol penelope petra peyton philippa phoebe pierrick piotr piper pippa pooja poppy
		pradeep prakash pranav praveen priti priyanka quentin rachid radek rafal raheem rahul rajesh rakesh ralf ramesh rania rashad reinhard rekha renata
		renate rhys ricarda riley rohan rohit roisin rolf rory rosalia rosie roswitha rowan rudolf ruediger sabine sachin sadie saeed salma sameer samira
		sandeep sanjana sascha satish sawyer scarlett seamus sebastian sebastien seema serge sergei sergey shabnam shanice shaniqua shaquille shona shreya
		sian sigrid silke simone sinead siobhan sita skylar slawomir snezana sofie sonja soraya soren stanislav stefan stefania steffen stephane subhash
		sudhir sunil sushil svetlana swati sylvain sylvie szymon tadeusz takashi tamas tamika tanisha tanja tariq tatiana tatyana terezia thanh theo thibault
		thierry thorsten tiago tilly tomas tomasz torsten tracie trudy tuan tyrell udo ulla ulrich ulrike umar urs usha uwe vaclav valentin valentina vanja
		vasily veronika vikram viktor viktoria vinod vishal vivek volker waldemar waltraud wenche werner wieslaw wilfried wilhelm wojciech wolfgang xavi
		xiomara yasmin yasmine yuki yulia yuri yusra yvan yves zainab zara zbigniew zdenek zeynep zoey zofia zoltan zuzana zuzanna`) {
		m[w] = 2
	}
	for _, w := range strings.Fields(`alexandre allen arnold austin blake brady bryant byron cameron carey carmelo carson carter cary chandler chase clark claude clay clayton
		clifford clifton clinton clyde cole cruz dallas darwin davis delgado dewey dexter drew elliott ellis elton emanuel everett fletcher floyd
		forrest franklin garrett gilbert gordon graham grant harley harper harrison harvey hayden hudson hunter irving israel jackson james
		jefferson jordan joyner kelley kelly kennedy kent kerr lance landon lane lee lewis lincoln lloyd logan london lyle mack marshall martin
		mason maxwell merle morgan morris murray nelson nolan norman oliver parker payton perry quinn reuben roman rose ross russell samson
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

// towns are states, provinces and countries by their names, and big cities: of
// those that are names of people, too, only what stands beside them tells.
var towns = func() map[string]kindOfPlace {
	m := map[string]kindOfPlace{}
	for _, w := range strings.Fields(`alabama alaska arizona arkansas california calif carolina colorado columbia connecticut dakota delaware florida fla georgia hampshire hawaii idaho illinois
		indiana iowa jersey kansas kentucky louisiana maine maryland massachusetts michigan minnesota mississippi missouri montana nebraska nevada ohio oklahoma oregon pennsylvania
		tennessee tenn texas utah vermont virginia washington wisconsin wyoming york
		alberta brunswick manitoba newfoundland ontario quebec saskatchewan scotia yukon
		argentina australia austria belgium brazil canada china colombia cuba denmark ecuador england france germany guatemala haiti honduras india ireland israel italy jamaica japan
		jordan kenya korea mexico netherlands nigeria norway pakistan panama peru philippines poland portugal russia scotland spain sweden switzerland taiwan turkey ukraine venezuela
		vietnam wales zealand`) {
		m[w] = aState
	}
	for _, w := range strings.Fields(`albany albuquerque amsterdam anchorage atlanta augusta aurora austin baltimore berlin birmingham boise boston bristol brooklyn brussels buffalo
		calgary cambridge charleston charlotte chicago cincinnati cleveland columbus dallas denver detroit dublin durham edmonton fresno glasgow halifax hamburg hollywood honolulu houston
		jackson lancaster leeds lincoln liverpool london louisville madison madrid manchester manhattan melbourne memphis miami milwaukee minneapolis mobile montgomery montreal munich
		nashville newark norfolk oakland omaha orlando ottawa oxford paris philadelphia phoenix pittsburgh plymouth portland queens raleigh regina reno richmond rochester rome
		sacramento savannah seattle spokane springfield sydney tampa tokyo toledo toronto tucson tulsa vancouver vegas vienna wichita winnipeg zurich`) {
		m[w] = aCity
	}
	return m
}()

// kindOfPlace is what one of towns is.
type kindOfPlace int

const (
	aState kindOfPlace = 1 + iota
	aCity
)

// things are first names that are words or brands as well, and so begin the names of
// many companies.
var things = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`amber april autumn chase crystal daisy dawn destiny diamond ebony faith grace harley holly hope joy june mercedes misty sierra sterling summer`) {
		m[w] = true
	}
	return m
}()

// surnames are the most common ones of North America.
var surnames = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`adams aguilar alexander allen alvarez anderson andrews armstrong arnold bailey baker barnes bell bennett berry black boyd bradley brooks brown bryant burns butler
		campbell carpenter carroll carter castillo castro chavez chen clark cole coleman collins contreras cook cooper cox crawford cruz cunningham daniels davis delgado diaz dixon
		duncan dunn edwards elliott ellis espinoza estrada evans ferguson fernandez fisher flores ford foster fox freeman garcia gardner garza gibson gomez gonzales gonzalez gordon graham
		gray green greene griffin guerrero gutierrez guzman hall hamilton hansen harper harris harrison hart hawkins hayes henderson henry hernandez herrera hicks hill hoffman holmes
		howard hudson hughes hunt jackson jacobs jenkins jensen jimenez johnson johnston jones jordan kelley kelly kennedy khan kim king knight kumar larson lawrence lawson lee lewis li
		lin little liu long lopez lynch marshall martin martinez mccarthy mcdonald medina mendez mendoza meyer miller mitchell molina moore morales moreno morgan morris morrison muller
		munoz murphy murray myers nelson newman nguyen nichols nowak obrien oconnor olson ortega ortiz owens palmer parker patel patterson payne pena peralta perez perkins perry peters
		peterson pham phillips pierce porter powell price quinn ramirez ramos ray reed reid reyes reynolds rice richards richardson riley rios rivera rivers roberts robertson robinson
		rodriguez rogers romero rose ross ruiz russell ryan salazar sanchez sanders sandoval santiago santos schmidt schneider schultz schwartz scott shah sharma shaw silva simmons
		simpson singh smith snyder soto spencer stephens stevens stewart stone sullivan taylor thomas thompson torres tran tucker turner valdez vargas vasquez vazquez vega wagner walker
		wallace wang ward warren washington watkins watson weaver webb weber weiss welch wells west wheeler white williams williamson willis wilson wong wood woods wright wu yang young
		zhang`) {
		m[w] = true
	}
	return m
}()

// notPersons are words that a person's name does not have.
var notPersons = func() map[string]kindOfWord {
	m := map[string]kindOfWord{}
	for _, w := range strings.Fields(`wireless unknown unavailable anonymous private restricted cell phone mobile toll free
		spam scam likely risk telemarketer fraud inc llc ltd gmbh corp co company services service group center centre clinic office bank school
		mr mrs ms miss mx dr prof sir madam family name number unlisted blocked withheld out area pay phone public
		dental medical clinics auto plumbing insurance law legal realty construction electric roofing church store shop studio
		county city state department dept hospital university pharmacy restaurant hotel solutions systems international national customer
		support sales and the of
		front desk room main line reception lobby conference fax extension ext test guest admin unit depot hut buy amazon google voice verizon
		wireles cellular ups fedex usps walmart paypal com net org usa pizza taxi cab hair nails salon motors tire tires bros sons assoc associates
		san santa saint st fort port mount mt beach lake los las new north south east west chapel ministries temple papa trader`) {
		m[w] = never
	}
	for _, w := range strings.Fields(`academy accounting advisors airlines airport airways alarm alert ambulance america american animal apartments apparel appliance arena army assembly
		association attorney attorneys automotive ave avenue bakery baptist bar bay benz bikes bistro blvd boat boats boutique brewery brewing bridal bridge british broadcasting
		cable cafe canyon capital care carpet cars catering catholic chiropractic cinema cleaners cleaning clear clothing club clubs coffee college communications consulate consulting
		contractors cooling council country courier court courthouse credit creek daycare deli delivery dentist dentistry dentists design designs diesel digital direct drywall education
		emergency energy enterprise enterprises episcopal equipment estate estates events express eye falls farm farms fashion federal fellowship finance financial fire fitness flooring
		florist florists flowers food foods foundation freight funeral furniture garage garden gardens gas glass global golf government graphics grill grocery gym hardware harbor
		harbour haven healthcare health hearing heating heights heritage holdings home homes hospice house housing hvac imaging industrial industries inn institute internet investments
		island islands jewelers jewelry journal kennels kitchen lab labs landscaping laundry lawn lawyer lawyers learning liquor loan loans locksmith lodge logistics lounge lumber
		lutheran machinery magazine mail mall management manufacturing marine market marketing markets materials meats mechanical media medicine memorial methodist mfg ministry mobility
		montessori mortgage motel motor movers moving museum music navy network networks news nursery oil optical optometry orchard orthodontics orthopedics outlet painting
		parks parkway partners parts party pediatrics pet pets petroleum photo photography pizzeria plaza plumbers plc pllc llp police pools post power preschool presbyterian press
		print printing products productions properties property pub radio radiology railway ranch realtors records recycling rehab remodeling rental rentals repair repairs research
		resort retail road roofers royal rv salvage savings seafood securities security sheriff shoes shopping signs software spa spirits sports springs square stadium station steel
		storage stores street studios supermarket supply supplies surgery surgical synagogue tailor tattoo tavern tax tech technologies technology telecom telephone television theater
		theatre therapy times tools tours tower towers towing town township toys trading training transit transport transportation travel tree tribune truck trucking trucks trust
		tuition tv union united urgent utilities valley veterans veterinary video village vision water wedding welding wholesale windows wine winery worldwide yoga`) {
		if m[w] == 0 {
			m[w] = firm
		}
	}
	return m
}()

// kindOfWord is which names a word of notPersons is not in.
type kindOfWord int

const (
	never kindOfWord = 1 + iota // a person's
	firm                        // one that a carrier or a PBX shows; the contact Sarah House is one
)
