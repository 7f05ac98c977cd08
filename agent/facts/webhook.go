package facts

// Message is what is posted to a webhook.
type Message struct {
	URL     string
	Headers map[string]string
	Body    []byte
}
