package sms

// Word is what staff is told of.
type Word string

const (
	CallMissed Word = "call_missed" // a rule wants somebody told of a missed call
	TaskOpened Word = "task_opened" // a callback is owed
	TaskLate   Word = "task_late"   // and its deadline is over
)

// tell has staff told about a job. It happens with what else the transaction stores.
func (tx *callerTx) tell(names []string, what Word, about *Job) {}
