// Package typo finds the name that a mistyped one was probably meant to be. The registry document and the
// configuration refuse names that they do not know, because a typo must not bill; both end what they say with its
// hint.
package typo

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Hint names the known word nearest to an unknown one, as "; did you mean terms?", or says nothing where none is
// near enough to be meant. Upper and lower case are the same to it.
func Hint(name string, known []string) string {
	near := Near(name, known, 1)
	if len(near) == 0 {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", near[0])
}

// Near returns the known words that an unknown one may be meant as, the nearest first and at most so many.
func Near(name string, known []string, most int) (near []string) {
	distances := map[string]int{}
	for _, k := range known {
		if d := editDistance(strings.ToLower(name), strings.ToLower(k)); d <= max(2, len(name)/3) {
			distances[k] = d
			near = append(near, k)
		}
	}
	slices.SortFunc(near, func(x, y string) int {
		return cmp.Or(cmp.Compare(distances[x], distances[y]), cmp.Compare(x, y))
	})
	return near[:min(most, len(near))]
}

// editDistance is the number of bytes to insert, delete or replace to make b of a.
func editDistance(a, b string) int {
	if len(a) > 64 { // no known word is nearly as long
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			substitution := diagonal
			if a[i] != b[j] {
				substitution++
			}
			row[j+1] = min(substitution, above+1, row[j]+1)
			diagonal = above
		}
	}
	return row[len(b)]
}
