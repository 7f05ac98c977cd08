package ecsconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/pattern"
	"github.com/ecsnode/ecsnode/agent/render"
)

// The API takes backslashes too, which ecs.config cannot hold.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Attribute.html
var (
	attributeName  = pattern.New(`^[A-Za-z0-9_./-]+$`)
	attributeValue = pattern.New(`^[A-Za-z0-9_.@/: -]+$`)
)

const maxAttributeText = 128 // of a name and of a value

// maxAttributes is how many custom attributes a container instance may have:
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PutAttributes.html
const maxAttributes = 10

func checkAttributeName(name string) error {
	switch {
	case strings.Contains(name, `\`):
		return errors.New("the name has a backslash, which ecs.config cannot hold")
	case len(name) > maxAttributeText || !attributeName.MatchString(name):
		return fmt.Errorf("%q is no name of an attribute: expected 1 to 128 letters, digits and -_./", name)
	}
	return nil
}

func checkAttributeValue(value string) error {
	switch {
	case strings.Contains(value, `\`):
		return errors.New("the value has a backslash, which ecs.config cannot hold")
	case len(value) > maxAttributeText || !attributeValue.MatchString(value):
		return fmt.Errorf("the value %q is not allowed: expected 1 to 128 letters, digits, spaces and -_.:@/", value)
	case value[0] == ' ' || value[len(value)-1] == ' ':
		return fmt.Errorf("the value %q begins or ends with a space", value)
	}
	return nil
}

// addAttributes takes the attributes as one setting: all of them or, if one is
// not known or not possible, those that the block has had so far.
func (b *builder) addAttributes(texts map[string]render.Text) {
	attributes, complete := map[string]string{}, true
	fail := func(err error) {
		b.fail(err)
		complete = false
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		value, err := b.attribute(name, texts[name])
		switch {
		case err != nil:
			fail(err)
		case value != "":
			attributes[name] = value
		}
	}
	own := len(attributes)
	if own > 0 {
		b.merge(attributes, texts)
	}
	if len(attributes) > maxAttributes {
		fail(fmt.Errorf("cannot set %s: a container instance has at most %d", counted(own, len(attributes)), maxAttributes))
	}
	if !complete {
		b.keep(attributesKey)
		return
	}
	b.attributes = attributes
	if len(attributes) > 0 {
		list, err := json.Marshal(attributes)
		b.add(attributesKey, string(list), err)
	}
}

func counted(own, all int) string {
	if own == all {
		return fmt.Sprintf("%d attributes", all)
	}
	return fmt.Sprintf("%d attributes, %d of them from outside the block", all, all-own)
}

// merge adds the attributes that others, such as user data, set outside of the
// block, because the block's line takes the place of theirs. What the
// configuration names is its own, also where that leaves it out.
func (b *builder) merge(own map[string]string, named map[string]render.Text) {
	theirs, line, err := b.now.foreignAttributes()
	if err != nil {
		b.warn("the attributes that line %d sets outside the block are not taken over: %v", line, err)
	}
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		value := theirs[name]
		err := errors.Join(checkAttributeName(name), checkForeignValue(value))
		_, ours := named[name]
		switch {
		case ours && own[name] != value:
			b.warn("attribute %s is also set outside the block (line %d, value %s): ecsnode's value %s wins", name, line, shown(name, value), shown(name, own[name]))
		case ours:
		case err != nil:
			b.warn("attribute %s, set outside the block (line %d), is not taken over: %v", name, line, err)
		default:
			own[name] = value
		}
	}
}

func checkForeignValue(value string) error {
	if value == "" {
		return errors.New("its value is empty")
	}
	return checkAttributeValue(value)
}

// attribute returns the value of one; "" leaves it out.
func (b *builder) attribute(name string, text render.Text) (string, error) {
	if text.IsZero() {
		return "", nil // how an operator drops one that others set
	}
	what := "attribute " + name
	if err := checkAttributeName(name); err != nil {
		return "", fmt.Errorf("cannot set %s: %w", what, err)
	}
	value, err := text.Render(b.in)
	switch {
	case errors.Is(err, facts.ErrAbsent):
		b.warn("%s is left out: %v", what, err)
		return "", nil
	case err != nil:
		return "", whyMissing(what, err)
	case value == "":
		b.warn("%s is left out: its value is empty", what)
		return "", nil
	}
	if err := checkAttributeValue(value); err != nil {
		return "", fmt.Errorf("cannot set %s: %w", what, err)
	}
	return value, nil
}

// registeredAttributes returns the attributes that a node registers with which
// has this block.
func registeredAttributes(now contents) map[string]string {
	attributes := map[string]string{}
	if text, ok := now.value(attributesKey); ok {
		if err := json.Unmarshal([]byte(text), &attributes); err != nil {
			return map[string]string{} // the agent takes none then
		}
	}
	return attributes
}
