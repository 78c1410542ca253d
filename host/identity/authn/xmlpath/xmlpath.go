// Package xmlpath takes a text out of an XML document by an XPath, within bounds of what a hostile document may cost.
package xmlpath

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/antchfx/xpath"
)

var errEvaluate = errors.New("the XPath expression cannot be evaluated")

// Query takes the string value of the first node that an XPath 1.0 expression selects, or the string that it computes.
// Names match by prefix and local name, as they stand in the document. It is safe for concurrent use.
type Query struct {
	// A compiled expression keeps state while it runs: each is used by one request at a time.
	compiled sync.Pool
}

// Compile refuses an expression that says the same of every document, a number or a truth value.
func Compile(expression string) (q *Query, err error) {
	defer recovered(&err)
	first, err := xpath.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("%s is no XPath: %w", strconv.Quote(expression), err)
	}
	// On an empty document, whatever has a value says nothing of the request; and so do numbers and truth values.
	switch v := first.Evaluate(emptyTree().cursor()).(type) {
	case *xpath.NodeIterator:
	case string:
		if v != "" {
			return nil, fmt.Errorf("%s is a constant, and no id", strconv.Quote(expression))
		}
	default:
		return nil, fmt.Errorf("%s selects neither nodes nor a text, and is no id", strconv.Quote(expression))
	}
	q = &Query{}
	q.compiled.New = func() any {
		again, err := xpath.Compile(expression)
		if err != nil {
			return nil // unreachable: it was compiled before
		}
		return again
	}
	q.compiled.Put(first)
	return q, nil
}

// Text evaluates the expression on a document of up to 1 MiB, in UTF-8; empty when it selects nothing. Errors quote
// nothing of the document.
func (q *Query) Text(document string) (value string, err error) {
	t, err := parseTree(document)
	if err != nil {
		return "", err
	}
	defer recovered(&err)
	expression, ok := q.compiled.Get().(*xpath.Expr)
	if !ok {
		return "", errEvaluate
	}
	switch v := expression.Evaluate(t.cursor()).(type) {
	case string:
		value = v
	case *xpath.NodeIterator:
		if v.MoveNext() {
			value = v.Current().Value()
		}
	}
	q.compiled.Put(expression) // not after a panic, which may leave anything in it
	return value, nil
}

// recovered makes an error of a panic: the library panics on arguments of the wrong kind, which may depend on the
// document. What it says could quote the document, and is left out.
func recovered(err *error) {
	switch recover() {
	case nil:
	case errSteps:
		*err = errSteps
	default:
		*err = errEvaluate
	}
}
