package schemas

// Codes lists every code, in the order in which they apply.
var Codes = [...]Code{
	TooLarge, MalformedJSON, NotCloudEvents, MissingField, UnknownType, InvalidField, EndBeforeStart, ImplausibleDuration,
}

var advice = map[Code]string{
	TooLarge: "Leave out of the event what billing does not read; nothing that it reads comes near the limit.",
	MalformedJSON: "Have a JSON library write the event, in UTF-8 and each member once. " +
		"A value that was cut off, compressed or encoded twice looks like this, too.",
	NotCloudEvents: `Set specversion to the string "1.0". ` +
		"An event in binary mode whose ce_ headers were lost on the way looks like this, too.",
	MissingField: "Fill in the field. A platform that renamed it, or writes it outside data, looks like this, too.",
	UnknownType: "Send the event to the topic of its type, with that type's exact name. " +
		"A type that a later version knows can be replayed after the upgrade.",
	InvalidField: "Write the field as the event contract has it. " +
		"Numbers in quotes and times without a zone are the most common.",
	EndBeforeStart: "Find out which of the two times is wrong. " +
		"Machines whose clocks differ, and a local time that was marked as UTC, look like this.",
	ImplausibleDuration: "Find out when the session really ended; most of these were never closed. " +
		"A time in seconds where milliseconds belong looks like this, too.",
}

// Advice says in a sentence or two what usually lies behind the code, and what
// the sender does about it; "" for no code of ours.
func (c Code) Advice() string { return advice[c] }
