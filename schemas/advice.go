package schemas

// Codes lists every code, in the order in which they apply.
var Codes = [...]Code{
	TooLarge, MalformedJSON, NotCloudEvents, MissingField, UnknownType, InvalidField, MisspeltField,
	EndBeforeStart, ImplausibleDuration,
}

var advice = map[Code]string{
	TooLarge: "Leave out of the event what billing does not read; nothing that it reads comes near the limit.",
	MalformedJSON: "Have a JSON library write the event, in UTF-8 and each member once. " +
		"A value that was cut off, compressed or encoded twice looks like this, too.",
	NotCloudEvents: `Send the whole event in the value, with specversion "1.0" and the header content-type: ` +
		"application/cloudevents+json or none, or its attributes in ce_ headers. " +
		"Headers that were lost on the way, or that a framework added, look like this.",
	MissingField: "Fill in the field. A platform that renamed it, spells it otherwise, or writes it outside data, looks like this, too.",
	UnknownType: "Send the event to the topic of its type, with that type's exact name. " +
		"A type that a later version knows can be replayed after the upgrade.",
	InvalidField: "Write the field as the event contract has it. " +
		"Numbers in quotes, times without a zone, and seconds where milliseconds belong are the most common.",
	MisspeltField: "Send the member by the name that the event contract has, upper and lower case as there. " +
		"One that is meant to be something else needs a name that is not so near.",
	EndBeforeStart: "Find out which of the two times is wrong. " +
		"Machines whose clocks differ, and a local time that was marked as UTC, look like this.",
	ImplausibleDuration: "Find out when the session really ended; most of these were never closed.",
}

// Advice says in a sentence or two what usually lies behind the code, and what
// the sender does about it; "" for no code of ours.
func (c Code) Advice() string { return advice[c] }
