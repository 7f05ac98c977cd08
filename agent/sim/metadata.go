package sim

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// lookupIMDS finds what version/path tells now: a value, or the listing of a
// directory, with or without the trailing slash.
func (n *Node) lookupIMDS(version, path string) (body string, found bool) {
	if version == "" {
		return strings.Join(imdsVersions(), "\n"), true
	}
	if !slices.Contains(imdsVersions(), version) {
		return "", false
	}
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	items := n.metadata(version).values
	if value, ok := items[path]; ok {
		return value, true
	}
	return listMetadata(items, strings.TrimSuffix(path, "/"))
}

// imdsVersions are the versions of IMDS. Source: listings of "/" on real
// instances, for one in
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
func imdsVersions() []string {
	return []string{
		"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
		"2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19",
		"2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03",
		"2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11", "latest",
	}
}

// listMetadata lists the entries below dir, one a line, directories with a
// slash. There is no newline after the last. A directory without entries is
// not there; that this holds for the tags of an instance without tags is a
// guess, AWS does not document it.
func listMetadata(items map[string]string, dir string) (listing string, found bool) {
	prefix := dir + "/"
	if dir == "" {
		prefix = ""
	}
	var names []string
	for path := range items {
		rest, below := strings.CutPrefix(path, prefix)
		if !below {
			continue
		}
		name, _, deeper := strings.Cut(rest, "/")
		if deeper {
			name += "/"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "", false
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), "\n"), true
}

// metadata collects the paths that one version of IMDS can answer at one
// moment. What is not in it is 404.
type metadata struct {
	version string
	values  map[string]string // by path below the version
}

// add adds a path of the version since and later. The versions are ordered as
// text, with "1.0" first and "latest" last.
func (m metadata) add(since, path, value string) {
	if m.version >= since {
		m.values[path] = value
	}
}

// addSet adds a path that exists only while it has a value.
func (m metadata) addSet(since, path, value string) {
	if value != "" {
		m.add(since, path, value)
	}
}

// metadata collects what the node's IMDS tells now. The caller holds the lock.
// Paths, meaning and first versions:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
func (n *Node) metadata(version string) metadata {
	i := n.instance
	m := metadata{version: version, values: map[string]string{}}
	m.add("1.0", "meta-data/ami-id", i.AMI)
	m.add("1.0", "meta-data/hostname", i.Hostname)
	m.add("1.0", "meta-data/instance-id", i.ID)
	m.add("1.0", "meta-data/local-ipv4", i.PrivateIP)
	m.add("2007-01-19", "meta-data/local-hostname", i.Hostname)
	m.add("2007-08-29", "meta-data/instance-type", i.Type)
	m.add("2008-02-01", "meta-data/placement/availability-zone", i.Zone)
	m.add("2008-09-01", "meta-data/instance-action", "none")
	m.add("2009-04-04", "dynamic/instance-identity/document", identityDocument(i))
	m.add("2011-01-01", "meta-data/mac", i.MAC)
	m.add("2014-02-25", "meta-data/services/domain", "amazonaws.com")
	m.add("2015-10-20", "meta-data/services/partition", "aws")
	m.add("2019-10-01", "meta-data/instance-life-cycle", i.Lifecycle)
	m.add("2019-10-01", "meta-data/placement/availability-zone-id", i.ZoneID)
	m.add("2020-08-24", "meta-data/placement/region", i.Region)
	m.addSet("2020-08-24", "meta-data/placement/group-name", i.PlacementGroup)
	m.addSet("2020-08-24", "meta-data/placement/host-id", i.HostID)
	if i.PartitionNumber != 0 {
		m.add("2020-08-24", "meta-data/placement/partition-number", strconv.Itoa(i.PartitionNumber))
	}
	m.addSet("1.0", "user-data", i.UserData)
	if n.metadataTags {
		for key, value := range n.tags {
			m.add("2021-03-23", "meta-data/tags/instance/"+key, value)
		}
	}
	if i.Role != NoRole {
		m.add("2012-01-12", "meta-data/iam/info", n.instanceProfile())
		m.add("2012-01-12", "meta-data/iam/security-credentials/"+i.Role, n.currentCredentials().document())
	}
	n.notices.addTo(m)
	return m
}

// addTo adds the paths of the notices that are up. Shapes: EC2 User Guide,
// spot-instance-termination-notices and rebalance-recommendations;
// aws/aws-node-termination-handler:pkg/monitor/scheduledevent (dates).
func (s notices) addTo(m metadata) {
	const utc = "2006-01-02T15:04:05Z"
	if s.spotAction != "" {
		at := s.spotTime.UTC().Format(utc)
		m.add("2016-11-15", "meta-data/spot/instance-action", toJSON(struct {
			Action string `json:"action"`
			Time   string `json:"time"`
		}{s.spotAction, at}))
		if s.spotAction == "terminate" {
			m.add("2014-11-05", "meta-data/spot/termination-time", at)
		}
	}
	if !s.rebalance.IsZero() {
		m.add("2020-10-27", "meta-data/events/recommendations/rebalance", toJSON(struct {
			NoticeTime string `json:"noticeTime"`
		}{s.rebalance.UTC().Format(utc)}))
	}
	m.addSet("2021-07-15", "meta-data/autoscaling/target-lifecycle-state", s.target)
	m.add("2018-08-17", "meta-data/events/maintenance/scheduled", scheduledEvents(s.scheduled))
}

func scheduledEvents(events []ScheduledEvent) string {
	type entry struct {
		NotBefore   string
		Code        string
		Description string
		EventID     string `json:"EventId"`
		NotAfter    string
		State       string
	}
	date := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format("2 Jan 2006 15:04:05") + " GMT"
	}
	entries := []entry{}
	for _, e := range events {
		entries = append(entries, entry{date(e.NotBefore), e.Code, e.Description, e.EventID, date(e.NotAfter), e.State})
	}
	return toJSON(entries)
}

// identityDocument is dynamic/instance-identity/document. Fields:
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
func identityDocument(i Instance) string {
	return toJSON(struct {
		AccountID               string   `json:"accountId"`
		Architecture            string   `json:"architecture"`
		AvailabilityZone        string   `json:"availabilityZone"`
		BillingProducts         []string `json:"billingProducts"`
		DevpayProductCodes      []string `json:"devpayProductCodes"`
		MarketplaceProductCodes []string `json:"marketplaceProductCodes"`
		ImageID                 string   `json:"imageId"`
		InstanceID              string   `json:"instanceId"`
		InstanceType            string   `json:"instanceType"`
		KernelID                *string  `json:"kernelId"`
		PendingTime             string   `json:"pendingTime"`
		PrivateIP               string   `json:"privateIp"`
		RamdiskID               *string  `json:"ramdiskId"`
		Region                  string   `json:"region"`
		Version                 string   `json:"version"`
	}{
		AccountID: i.Account, Architecture: i.Architecture, AvailabilityZone: i.Zone, ImageID: i.AMI,
		InstanceID: i.ID, InstanceType: i.Type, PendingTime: i.PendingTime.UTC().Format(time.RFC3339),
		PrivateIP: i.PrivateIP, Region: i.Region, Version: "2017-09-30",
	})
}

// toJSON is indented as IMDS's documents are. The types given to it cannot
// fail to encode.
func toJSON(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	return string(b)
}
