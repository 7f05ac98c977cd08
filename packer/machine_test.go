package packer_test

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// machine is the build instance as Packer sees it by SSH: it takes files by scp
// and notes what it is to run.
type machine struct {
	fails string // the script that fails, by its text

	mu       sync.Mutex
	files    map[string]string // by their names in /tmp
	scripts  []run
	received []string
}

// run is one script that was uploaded and started.
type run struct{ command, text string }

// listen lets Packer log in, and returns the port.
func (m *machine) listen(t *testing.T) string {
	t.Helper()
	m.files = map[string]string{}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go m.serve(conn, config)
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func (m *machine) serve(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return // Packer looks whether somebody listens
	}
	go ssh.DiscardRequests(requests)
	for opened := range channels {
		channel, requests, err := opened.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				_ = r.Reply(true, nil)
				if r.Type != "exec" {
					continue
				}
				status := m.execute(string(r.Payload[4:]), channel) // RFC 4254, 6.5: a string
				_, _ = channel.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(status)))
				_ = channel.Close()
			}
		}()
	}
}

func (m *machine) execute(command string, stdio io.ReadWriter) (status int) {
	command = strings.TrimSpace(command)
	if strings.HasPrefix(command, "scp ") {
		m.receive(stdio)
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name := path.Base(strings.Trim(command[strings.LastIndexByte(command, ' ')+1:], "'"))
	text, ok := m.files[name]
	if !ok || strings.HasPrefix(command, "rm ") || strings.HasPrefix(command, "chmod 0755 ") {
		return 0
	}
	m.scripts = append(m.scripts, run{command, text})
	if text == m.fails {
		return 3
	}
	return 0
}

// receive takes files as scp -t does.
func (m *machine) receive(stdio io.ReadWriter) {
	in := bufio.NewReader(stdio)
	reply := func() { _, _ = stdio.Write([]byte{0}) }
	reply()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		var mode string
		var size int64
		var name string
		if _, err := fmt.Sscanf(line, "C%s %d %s\n", &mode, &size, &name); err == nil {
			reply()
			text := make([]byte, size+1) // and a zero
			if _, err := io.ReadFull(in, text); err != nil {
				return
			}
			m.mu.Lock()
			m.files[name] = string(text[:size])
			m.received = append(m.received, name)
			m.mu.Unlock()
		}
		reply()
	}
}
