package configs

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"

	"pneudaq/acquisition"
)

// maxTable is how many bytes and rows a register table may have.
const (
	maxTable     = 8 << 20
	maxTableRows = 20_000
)

// Table is a register table as laboratories keep them in a spreadsheet: a row
// for each register of a model or each channel of a rig.
type Table struct {
	File string
	Rows []Row
}

// Row is one register or channel. The fields of a rig are empty in the table
// of a model.
type Row struct {
	Name          string
	Group         string
	Period        string
	Device        string
	Endpoint      string
	UnitID        string
	AddressBase   string
	Table         string
	Address       string // in the base of the device
	Type          string
	Order         string
	Length        string
	Bit, Bits     string
	Scale         string
	Offset        string
	RegisterUnit  string
	Unit          string // several in a model: separated by /
	Low, High     string
	Writable      string // yes or empty
	NegativeAbove string
	Sentinels     string // 0x7FFF=over_range, separated by blanks
	Page          string
	Description   string

	at Place
}

// tableColumn is one column: its heading, what else people call it, and its
// place in a row.
type tableColumn struct {
	name    string
	aliases []string
	field   func(*Row) *string
	rig     bool // only in tables of rigs
	model   bool // only in tables of models
	number  bool
}

func tableColumns() []tableColumn {
	return []tableColumn{
		{name: "name", aliases: []string{"channel", "register", "symbol", "名称", "通道", "变量名", "寄存器"}, field: func(r *Row) *string { return &r.Name }},
		{name: "group", aliases: []string{"组", "分组"}, field: func(r *Row) *string { return &r.Group }, rig: true},
		{name: "period", aliases: []string{"周期", "采样周期"}, field: func(r *Row) *string { return &r.Period }, rig: true},
		{name: "device", aliases: []string{"设备"}, field: func(r *Row) *string { return &r.Device }, rig: true},
		{name: "endpoint", aliases: []string{"地址端口", "总线"}, field: func(r *Row) *string { return &r.Endpoint }, rig: true},
		{name: "unit_id", aliases: []string{"unit id", "slave", "slave id", "从站号", "站号"}, field: func(r *Row) *string { return &r.UnitID }, rig: true, number: true},
		{name: "address_base", aliases: []string{"base", "address base", "起始编号"}, field: func(r *Row) *string { return &r.AddressBase }, number: true},
		{name: "table", aliases: []string{"area", "register type", "寄存器类型", "区域"}, field: func(r *Row) *string { return &r.Table }},
		{name: "address", aliases: []string{"addr", "register address", "地址", "寄存器地址"}, field: func(r *Row) *string { return &r.Address }},
		{name: "type", aliases: []string{"data type", "format", "类型", "数据类型"}, field: func(r *Row) *string { return &r.Type }},
		{name: "order", aliases: []string{"byte order", "word order", "字节序", "字节顺序"}, field: func(r *Row) *string { return &r.Order }},
		{name: "length", aliases: []string{"长度"}, field: func(r *Row) *string { return &r.Length }, model: true, number: true},
		{name: "bit", aliases: []string{"位"}, field: func(r *Row) *string { return &r.Bit }, number: true},
		{name: "bits", aliases: []string{"width", "位数"}, field: func(r *Row) *string { return &r.Bits }, number: true},
		{name: "scale", aliases: []string{"factor", "gain", "比例", "系数", "倍率"}, field: func(r *Row) *string { return &r.Scale }, number: true},
		{name: "offset", aliases: []string{"偏移"}, field: func(r *Row) *string { return &r.Offset }, number: true},
		{name: "register_unit", aliases: []string{"寄存器单位"}, field: func(r *Row) *string { return &r.RegisterUnit }, rig: true},
		{name: "unit", aliases: []string{"units", "单位", "工程单位"}, field: func(r *Row) *string { return &r.Unit }},
		{name: "low", aliases: []string{"min", "minimum", "下限", "最小值"}, field: func(r *Row) *string { return &r.Low }, number: true},
		{name: "high", aliases: []string{"max", "maximum", "上限", "最大值"}, field: func(r *Row) *string { return &r.High }, number: true},
		{name: "writable", aliases: []string{"write", "access", "可写", "读写"}, field: func(r *Row) *string { return &r.Writable }},
		{name: "negative_above", field: func(r *Row) *string { return &r.NegativeAbove }, model: true, number: true},
		{name: "sentinels", aliases: []string{"无效值"}, field: func(r *Row) *string { return &r.Sentinels }},
		{name: "page", aliases: []string{"页", "页码"}, field: func(r *Row) *string { return &r.Page }, model: true},
		{name: "description", aliases: []string{"comment", "remark", "note", "描述", "说明", "备注"}, field: func(r *Row) *string { return &r.Description }},
	}
}

// ReadTable reads a register table from a .csv or .xlsx file. CSV may be
// UTF-8, with or without a mark, or GBK, and separated by comma, semicolon or
// tab. The first row names the columns.
func ReadTable(name string) (*Table, Problems) {
	o := newLoader()
	o.l.order = append(o.l.order, name)
	t := o.readTable(name)
	return t, o.problems()
}

func (o *loader) readTable(name string) *Table {
	at := Place{File: name}
	info, err := os.Stat(name)
	if err != nil {
		o.l.add(at, subject{}, pdOpen, plainError(err))
		return nil
	}
	if info.Size() > maxTable {
		o.l.add(at, subject{}, pdTooLarge, strconv.FormatInt(info.Size(), 10), strconv.Itoa(maxTable))
		return nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		o.l.add(at, subject{}, pdOpen, plainError(err))
		return nil
	}
	return o.parseTable(name, data)
}

// parseTable reads the bytes of a table.
func (o *loader) parseTable(name string, data []byte) *Table {
	at := Place{File: name}
	var cells [][]string
	var err error
	if bytes.HasPrefix(data, []byte("PK\x03\x04")) {
		cells, err = sheetCells(data)
	} else {
		cells, err = csvCells(data)
	}
	if err != nil {
		o.l.add(at, subject{}, pdTableFormat, err.Error())
		return nil
	}
	for len(cells) > 0 && blankRow(cells[0]) {
		cells = cells[1:]
	}
	if len(cells) < 2 || len(cells) > maxTableRows {
		o.l.add(at, subject{}, pdTableEmpty)
		return nil
	}
	return o.tableRows(name, cells)
}

func blankRow(cells []string) bool {
	return !slices.ContainsFunc(cells, func(c string) bool { return strings.TrimSpace(c) != "" })
}

// sheetCells returns the cells of a workbook's first sheet.
func sheetCells(data []byte) ([][]string, error) {
	f, err := excelize.OpenReader(bytes.NewReader(data), excelize.Options{UnzipSizeLimit: 64 << 20, UnzipXMLSizeLimit: 16 << 20})
	if err != nil {
		return nil, fmt.Errorf("open workbook: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	sheets := f.GetSheetList()
	if len(sheets) == 0 {
		return nil, errors.New("the workbook has no sheet")
	}
	rows, err := f.GetRows(sheets[0], excelize.Options{RawCellValue: true})
	if err != nil {
		return nil, fmt.Errorf("read sheet %s: %w", sheets[0], err)
	}
	return rows, nil
}

// csvCells returns the cells of separated text.
func csvCells(data []byte) ([][]string, error) {
	text, ok := bytes.CutPrefix(data, []byte("\xef\xbb\xbf"))
	if !ok && !utf8.Valid(data) {
		decoded, err := simplifiedchinese.GB18030.NewDecoder().Bytes(data)
		if err != nil || bytes.ContainsRune(decoded, utf8.RuneError) {
			return nil, errors.New("the bytes are neither UTF-8 nor GBK")
		}
		text = decoded
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, errors.New("it is no text")
	}
	head, _, _ := bytes.Cut(text, []byte("\n"))
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord, r.LazyQuotes, r.TrimLeadingSpace = -1, true, true
	for _, sep := range []rune{';', '\t'} {
		if bytes.Count(head, []byte(string(sep))) > bytes.Count(head, []byte{','}) {
			r.Comma = sep
		}
	}
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read CSV: %w", err)
	}
	return rows, nil
}

func (o *loader) tableRows(name string, cells [][]string) *Table {
	columns := tableColumns()
	place := map[int]int{} // column of the file: column of ours
	found := map[string]bool{}
	for i, head := range cells[0] {
		key := strings.ToLower(strings.TrimSpace(strings.TrimPrefix(head, "\ufeff")))
		for j := range columns {
			if c := &columns[j]; !found[c.name] && (key == c.name || slices.Contains(c.aliases, key)) {
				place[i], found[c.name] = j, true
			}
		}
	}
	var names []string
	for i := range columns {
		names = append(names, columns[i].name)
	}
	for _, must := range []string{"name", "table", "address", "type"} {
		if !found[must] {
			o.l.add(Place{File: name, Line: 1, Column: 1}, subject{}, pdTableHead, must, strings.Join(names, ", "))
		}
	}
	t := &Table{File: name}
	seen := map[string]int{}
	for i, row := range cells[1:] {
		if blankRow(row) {
			continue
		}
		r := Row{at: Place{File: name, Line: i + 2, Column: 1}}
		for j, cell := range row {
			if k, ok := place[j]; ok {
				o.tableCell(&r, &columns[k], cell, Place{File: name, Line: i + 2, Column: j + 1})
			}
		}
		if before, twice := seen[r.Name]; twice {
			o.l.add(r.at, subject{"row", r.Name}, pdTableTwice, r.Name, strconv.Itoa(before))
			continue
		}
		seen[r.Name] = i + 2
		t.Rows = append(t.Rows, r)
	}
	return t
}

// tableCell cleans one cell: marks against formulas, full-width and stray
// blanks, decimal commas.
func (o *loader) tableCell(r *Row, c *tableColumn, cell string, at Place) {
	cell = strings.TrimSpace(strings.ReplaceAll(cell, "\u3000", " "))
	if len(cell) > 1 && cell[0] == '\'' && strings.ContainsRune("=+-@'", rune(cell[1])) {
		cell = cell[1:]
	}
	s := subject{"row", r.Name}
	switch {
	case cell == "":
	case c.number:
		cell = strings.Replace(cell, ",", ".", 1)
		if _, err := strconv.ParseFloat(cell, 64); err != nil {
			o.l.add(at, s, pdTableCell, c.name, cell, "0.1")
			return
		}
	case c.name == "table":
		known := map[string]string{
			"0": TableCoil, "0x": TableCoil, "coils": TableCoil, "线圈": TableCoil, "1": TableDiscrete, "1x": TableDiscrete, "discrete inputs": TableDiscrete, "离散输入": TableDiscrete,
			"3": TableInput, "3x": TableInput, "input register": TableInput, "输入寄存器": TableInput, "4": TableHolding, "4x": TableHolding, "holding register": TableHolding, "保持寄存器": TableHolding,
		}
		low := strings.ToLower(cell)
		if k, ok := known[low]; ok {
			low = k
		}
		tables := []string{TableCoil, TableDiscrete, TableInput, TableHolding, TableFIFO}
		if !slices.Contains(tables, low) {
			o.l.add(at, s, pdTableCell, c.name, cell, strings.Join(tables, ", "))
			return
		}
		cell = low
	case c.name == "address":
		var a address
		if strings.HasSuffix(strings.ToLower(cell), "h") {
			cell = "0x" + cell[:len(cell)-1]
		}
		if v, err := strconv.ParseFloat(cell, 64); err == nil && v == float64(int(v)) && !strings.HasPrefix(cell, "0x") {
			cell = strconv.Itoa(int(v)) // spreadsheets write 10 as 10.0
		}
		if !a.parse(cell) {
			o.l.add(at, s, pdTableCell, c.name, cell, a.want())
			return
		}
	case c.name == "writable":
		switch strings.ToLower(cell) {
		case "yes", "y", "true", "1", "w", "rw", "r/w", "是", "可写", "读写":
			cell = "yes"
		case "no", "n", "false", "0", "r", "ro", "否", "只读":
			cell = ""
		default:
			o.l.add(at, s, pdTableCell, c.name, cell, "yes, no")
			return
		}
	}
	*c.field(r) = cell
}

// TableOf returns the register table of a rig, model or wire file: the
// channels that are read from registers, or the registers.
func TableOf(path string) (*Table, Problems) {
	o := newLoader()
	f := find(path)
	d, kind := o.open(f, KindRig, KindModel, KindWire)
	if d == nil {
		return nil, o.problems()
	}
	t := &Table{File: path}
	if kind == KindRig {
		if r := o.rig(d, f.origin); len(o.l.errors) == 0 {
			t.Rows = r.rows()
		}
		return t, o.problems()
	}
	if m := o.modelFrom(f); m != nil {
		t.Rows = m.rows()
	}
	return t, o.problems()
}

func (r *Rig) rows() []Row {
	var rows []Row
	for i := range r.Channels {
		c := &r.Channels[i]
		d, g := r.Device(c.Device), r.Group(c.Group)
		if c.Origin != FromRegister || d == nil || g == nil {
			continue
		}
		row := Row{
			Name: c.Name, Group: c.Group, Period: g.Period.String(), Device: d.Name, UnitID: strconv.Itoa(d.Unit),
			AddressBase: strconv.Itoa(d.AddressBase), Unit: c.Unit, Description: c.file.Description.V,
		}
		if b := r.Bus(d.Bus); b != nil {
			row.Endpoint = b.Endpoint
		}
		decoding := c.Decoding
		if c.file.RegisterUnit.Set { // as it is stated, before the conversion
			decoding.Scale, decoding.Offset = c.file.Scale.V, c.file.Offset.V
			row.RegisterUnit = c.file.RegisterUnit.V
		}
		row.decoding(c.Table, int(c.Register)+d.AddressBase, &decoding)
		row.Writable = yes(c.Writable)
		row.limits(c.Low, c.High)
		rows = append(rows, row)
	}
	return rows
}

func (m *Model) rows() []Row {
	var rows []Row
	for i := range m.Registers {
		r := &m.Registers[i]
		row := Row{
			Name: r.Name, AddressBase: strconv.Itoa(m.AddressBase), Unit: strings.Join(r.Units, " "), Page: r.Page, Description: r.Description,
		}
		row.decoding(r.Table, int(r.Address)+m.AddressBase, &r.Decoding)
		row.Writable = yes(r.Writable)
		if r.String > 0 {
			row.Type, row.Order, row.Length = "string", "", strconv.Itoa(r.String)
		}
		row.limits(r.Low, r.High)
		rows = append(rows, row)
	}
	return rows
}

func (r *Row) decoding(table string, a int, d *acquisition.Decoding) {
	r.Table, r.Address, r.Type = table, hexAddress(a), d.Type.String()
	if d.Type.Words() > 1 {
		r.Order = d.Order.String()
	} else if d.Order&2 != 0 {
		r.Order = "BA"
	}
	if d.Bits > 0 || d.Bit > 0 {
		r.Bit = strconv.Itoa(int(d.Bit))
	}
	if d.Bits > 0 {
		r.Bits = strconv.Itoa(int(d.Bits))
	}
	if d.Scale != 0 && d.Scale != 1 {
		r.Scale = strconv.FormatFloat(d.Scale, 'g', -1, 64)
	}
	if d.Offset != 0 {
		r.Offset = strconv.FormatFloat(d.Offset, 'g', -1, 64)
	}
	if d.NegativeAbove != 0 {
		r.NegativeAbove = strconv.FormatUint(d.NegativeAbove, 10)
	}
	var s []string
	for _, x := range d.Sentinels {
		s = append(s, fmt.Sprintf("0x%X=%s", x.Raw, x.Reason))
	}
	r.Sentinels = strings.Join(s, " ")
}

// yes is how a table says that something holds.
func yes(holds bool) string { //nolint:revive // a bool as a word
	if holds {
		return "yes"
	}
	return ""
}

func (r *Row) limits(low, high float64) {
	if low != high {
		r.Low, r.High = strconv.FormatFloat(low, 'g', -1, 64), strconv.FormatFloat(high, 'g', -1, 64)
	}
}

// ofRig says whether the rows are channels of a rig.
func (t *Table) ofRig() bool {
	return slices.ContainsFunc(t.Rows, func(r Row) bool { return r.Device != "" || r.Group != "" })
}

// cells returns head and rows, and which columns they are.
func (t *Table) cells() ([][]string, []tableColumn) {
	rig := t.ofRig()
	columns := slices.DeleteFunc(tableColumns(), func(c tableColumn) bool { return c.rig && !rig || c.model && rig })
	head := make([]string, len(columns))
	for i := range columns {
		head[i] = columns[i].name
	}
	all := [][]string{head}
	for i := range t.Rows {
		row := make([]string, len(columns))
		for j := range columns {
			row[j] = *columns[j].field(&t.Rows[i])
			if !columns[j].number {
				row[j] = guarded(row[j])
			}
		}
		all = append(all, row)
	}
	return all, columns
}

// guarded keeps a spreadsheet from taking a text for a formula.
func guarded(cell string) string {
	if cell == "" || !strings.ContainsRune("=+-@'", rune(cell[0])) {
		return cell
	}
	return "'" + cell
}

// WriteCSV writes the table as comma-separated text in UTF-8; with mark, a
// byte-order mark comes first, by which Excel and WPS recognise it.
func (t *Table) WriteCSV(w io.Writer, mark bool) error { //nolint:revive // a mark or none is all there is to choose
	if mark {
		if _, err := io.WriteString(w, "\ufeff"); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
	}
	cells, _ := t.cells()
	out := csv.NewWriter(w)
	if err := out.WriteAll(cells); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// WriteXLSX writes the table as a workbook with one sheet.
func (t *Table) WriteXLSX(w io.Writer) error {
	f := excelize.NewFile()
	defer f.Close() //nolint:errcheck // it is written below
	const sheet = "registers"
	if err := f.SetSheetName("Sheet1", sheet); err != nil {
		return fmt.Errorf("write workbook: %w", err)
	}
	cells, columns := t.cells()
	for i, row := range cells {
		for j, cell := range row {
			name, err := excelize.CoordinatesToCellName(j+1, i+1)
			if err != nil {
				return fmt.Errorf("write workbook: %w", err)
			}
			if v, err := strconv.ParseFloat(cell, 64); err == nil && i > 0 && columns[j].number {
				err = f.SetCellFloat(sheet, name, v, -1, 64)
				if err != nil {
					return fmt.Errorf("write workbook: %w", err)
				}
				continue
			}
			if err := f.SetCellStr(sheet, name, cell); err != nil {
				return fmt.Errorf("write workbook: %w", err)
			}
		}
	}
	if err := f.SetPanes(sheet, &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}); err != nil {
		return fmt.Errorf("write workbook: %w", err)
	}
	if err := f.Write(w); err != nil {
		return fmt.Errorf("write workbook: %w", err)
	}
	return nil
}

// YAML returns the table as the text of a file: a rig if its rows name groups
// or devices, else a model. What a table cannot say, such as the safe state of
// a rig or the revision of a document, is for a person to add; check says so.
func (t *Table) YAML(name string) []byte {
	if t.ofRig() {
		return t.rigYAML(name)
	}
	var b bytes.Buffer
	base := "0"
	for i := range t.Rows {
		if t.Rows[i].AddressBase != "" {
			base = t.Rows[i].AddressBase
			break
		}
	}
	fmt.Fprintf(&b, "version: 1\nmodel: %s\n", yamlText(name))
	fmt.Fprintf(&b, "source: { document: %s, page: table, revision: not stated, date: not stated }\n", yamlText(filepath.Base(t.File)))
	fmt.Fprintf(&b, "trust: documented\naddress_base: %s\nregisters:\n", base)
	for i := range t.Rows {
		r := &t.Rows[i]
		fmt.Fprintf(&b, "  %s: { ", yamlText(r.Name))
		keys := r.keys()
		if u := strings.Fields(strings.ReplaceAll(r.Unit, ",", " ")); len(u) > 0 {
			for j := range u {
				u[j] = yamlText(u[j])
			}
			text := u[0]
			if len(u) > 1 {
				text = "[" + strings.Join(u, ", ") + "]"
			}
			keys = append(keys, "unit: "+text)
		}
		if r.Writable != "" {
			keys = append(keys, "writable: armed")
		}
		if r.Page != "" {
			keys = append(keys, "page: "+yamlText(r.Page))
		}
		b.WriteString(strings.Join(append(keys, r.describe()...), ", ") + " }\n")
	}
	return b.Bytes()
}

func (t *Table) rigYAML(name string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "version: 1\nrig: %s\n", yamlText(name))
	buses, devices, groups := map[string]string{}, map[string]bool{}, map[string]bool{}
	b.WriteString("buses:\n")
	for i := range t.Rows {
		if e := t.Rows[i].Endpoint; buses[e] == "" {
			buses[e] = "bus" + strconv.Itoa(len(buses)+1)
			fmt.Fprintf(&b, "  %s: { modbus: %s }\n", buses[e], strconv.Quote(e))
		}
	}
	b.WriteString("devices:\n")
	for i := range t.Rows {
		r := &t.Rows[i]
		if devices[r.Device] {
			continue
		}
		devices[r.Device] = true
		fmt.Fprintf(&b, "  %s: { bus: %s, unit: %s, address_base: %s }\n", yamlText(r.Device), buses[r.Endpoint], orElse(r.UnitID, "1"), orElse(r.AddressBase, "0"))
	}
	b.WriteString("groups:\n")
	for i := range t.Rows {
		r := &t.Rows[i]
		if groups[r.Group] {
			continue
		}
		groups[r.Group] = true
		period := orElse(r.Period, "100ms")
		if ms, err := strconv.ParseFloat(period, 64); err == nil {
			period = time.Duration(ms * float64(time.Millisecond)).String()
		}
		fmt.Fprintf(&b, "  %s: { period: %s }\n", yamlText(r.Group), yamlText(period))
	}
	b.WriteString("channels:\n")
	for i := range t.Rows {
		r := &t.Rows[i]
		keys := append([]string{"group: " + yamlText(r.Group), "device: " + yamlText(r.Device)}, r.keys()...)
		if r.RegisterUnit != "" {
			keys = append(keys, "register_unit: "+yamlText(r.RegisterUnit))
		}
		if r.Unit != "" {
			keys = append(keys, "unit: "+yamlText(r.Unit))
		}
		if r.Writable != "" {
			keys = append(keys, "writable: true")
		}
		fmt.Fprintf(&b, "  %s: { %s }\n", yamlText(r.Name), strings.Join(append(keys, r.describe()...), ", "))
	}
	return b.Bytes()
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// keys returns what rig and model files have in common.
func (r *Row) keys() []string {
	keys := []string{r.Table + ": " + r.Address}
	add := func(key, v string) {
		if v != "" {
			keys = append(keys, key+": "+yamlText(v))
		}
	}
	if r.Table != TableCoil && r.Table != TableDiscrete {
		add("type", r.Type)
	}
	add("order", r.Order)
	add("length", r.Length)
	add("bit", r.Bit)
	add("bits", r.Bits)
	add("scale", r.Scale)
	add("offset", r.Offset)
	add("negative_above", r.NegativeAbove)
	if r.Low != "" && r.High != "" {
		keys = append(keys, "range: ["+r.Low+", "+r.High+"]")
	}
	if s := strings.Fields(r.Sentinels); len(s) > 0 {
		for i := range s {
			s[i] = strings.Replace(s[i], "=", ": ", 1)
		}
		keys = append(keys, "sentinels: { "+strings.Join(s, ", ")+" }")
	}
	return keys
}

func (r *Row) describe() []string {
	if r.Description == "" {
		return nil
	}
	return []string{"description: " + yamlText(r.Description)}
}

// yamlText writes a text so that it is read back as that text.
func yamlText(s string) string {
	if _, err := strconv.ParseFloat(s, 64); err == nil && !octalLooking(s) {
		return s
	}
	plain := s != "" && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(s))
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
		inside := r >= '0' && r <= '9' || strings.ContainsRune("./-", r)
		if !letter && (i == 0 || !inside) {
			plain = false
		}
	}
	if plain {
		return s
	}
	return strconv.Quote(s)
}
