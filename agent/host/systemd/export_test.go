package systemd

// Reconnect is what a call does that found no connection, however late.
func (c *Client) Reconnect() error {
	_, err := c.reconnect()
	return err
}
