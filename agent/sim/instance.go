package sim

import (
	"fmt"
	"strings"
	"time"
)

// Instance is what EC2 knows of one instance and IMDS tells of it. A zero
// field is filled with its default by New, AddNode and SetInstance, apart from
// the placement fields, Role's NoRole and UserData, which may be unset.
type Instance struct {
	ID           string    `yaml:"id" json:"id"`
	Type         string    `yaml:"type" json:"type"`
	AMI          string    `yaml:"ami" json:"ami"`
	Architecture string    `yaml:"architecture" json:"architecture"`
	Region       string    `yaml:"region" json:"region"`
	Zone         string    `yaml:"zone" json:"zone"`
	ZoneID       string    `yaml:"zone_id" json:"zone_id"`
	Account      string    `yaml:"account" json:"account"`
	PrivateIP    string    `yaml:"private_ip" json:"private_ip"`
	Hostname     string    `yaml:"hostname" json:"hostname"`
	MAC          string    `yaml:"mac" json:"mac"`
	Lifecycle    string    `yaml:"lifecycle" json:"lifecycle"` // on-demand, spot, scheduled ...
	PendingTime  time.Time `yaml:"pending_time" json:"pending_time"`
	// Role is the instance profile's role; NoRole is an instance without one.
	Role string `yaml:"role" json:"role"`
	// UserData is served at /latest/user-data, which is 404 without it.
	UserData string `yaml:"user_data" json:"user_data,omitempty"`
	// The placement paths are 404 while these are zero.
	PlacementGroup  string `yaml:"placement_group" json:"placement_group,omitempty"`
	PartitionNumber int    `yaml:"partition_number" json:"partition_number,omitempty"`
	HostID          string `yaml:"host_id" json:"host_id,omitempty"`
}

// NoRole as Instance.Role is an instance without an instance profile: the iam/
// paths of IMDS are 404.
const NoRole = "-"

// withDefaults fills every zero field that a real instance always has.
func (i Instance) withDefaults() Instance {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&i.ID, "i-0123456789abcdef0")
	set(&i.Type, "m6i.large")
	set(&i.AMI, "ami-0abcdef1234567890")
	set(&i.Architecture, "x86_64")
	set(&i.Region, "eu-west-1")
	set(&i.Zone, i.Region+"a")
	set(&i.ZoneID, zoneID(i.Zone))
	set(&i.Account, "123456789012")
	set(&i.PrivateIP, "10.0.1.23")
	set(&i.Hostname, hostname(i.PrivateIP, i.Region))
	set(&i.MAC, "0a:1b:2c:3d:4e:5f")
	set(&i.Lifecycle, "on-demand")
	set(&i.Role, "ecsInstanceRole")
	if i.PendingTime.IsZero() {
		i.PendingTime = time.Now().UTC().Truncate(time.Second)
	}
	return i
}

// zoneID makes the form of an AZ id (euw1-az1 for eu-west-1a). Which zone has
// which id differs from account to account, so any mapping is a right one.
// https://docs.aws.amazon.com/ram/latest/userguide/working-with-az-ids.html
func zoneID(zone string) string {
	parts := strings.Split(zone, "-")
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) < 2 {
		return zone
	}
	short := strings.NewReplacer("northeast", "ne", "northwest", "nw", "southeast", "se", "southwest", "sw",
		"north", "n", "south", "s", "east", "e", "west", "w", "central", "c").Replace(parts[1])
	number, letter := parts[2][:len(parts[2])-1], parts[2][len(parts[2])-1]
	return fmt.Sprintf("%s%s%s-az%d", parts[0], short, number, int(letter-'a')+1)
}

// hostname is the IP-based private DNS name EC2 gives an instance.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-naming.html
func hostname(ip, region string) string {
	domain := region + ".compute.internal"
	if region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(ip, ".", "-") + "." + domain
}

func (i Instance) definitionARN(d TaskDefinition) string {
	return fmt.Sprintf("arn:aws:ecs:%s:%s:task-definition/%s", i.Region, i.Account, d.name())
}
