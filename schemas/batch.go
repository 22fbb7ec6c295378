package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrTooMany is the error of a batch that has more events than it may.
var ErrTooMany = errors.New("more events than a batch may have")

// SplitBatch returns the elements of a JSON array, a batch of events, each as its bytes came; they share the memory of
// the batch. What is wrong within an element is for the [Decoder] to say: names that are repeated, strings that are not
// UTF-8, a value that is no object. An error is of the array as a whole, of which nothing is believed then:
// [ErrTooMany], or that the text is not one JSON array, as when it is cut off or goes on after its end.
func SplitBatch(batch []byte, most int) (elements [][]byte, err error) {
	tokens := jsontext.NewDecoder(bytes.NewReader(batch), jsontext.AllowDuplicateNames(true),
		jsontext.AllowInvalidUTF8(true))
	if tokens.PeekKind() != '[' {
		return nil, errors.New("the batch is not a JSON array")
	}
	if _, err := tokens.ReadToken(); err != nil {
		return nil, notArray(tokens, err)
	}
	for tokens.PeekKind() != ']' {
		value, err := tokens.ReadValue()
		if err != nil {
			return nil, notArray(tokens, err)
		}
		if len(elements) == most {
			return nil, ErrTooMany
		}
		end := tokens.InputOffset()
		elements = append(elements, batch[end-int64(len(value)):end:end])
	}
	if _, err := tokens.ReadToken(); err != nil {
		return nil, notArray(tokens, err)
	}
	if _, err := tokens.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("unexpected text after the batch, at byte %d", tokens.InputOffset())
	}
	return elements, nil
}

func notArray(tokens *jsontext.Decoder, err error) error {
	at := tokens.InputOffset()
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		err, at = syntax.Err, syntax.ByteOffset
	}
	return fmt.Errorf("the batch is not one JSON array: %w, at byte %d", err, at)
}
