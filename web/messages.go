package web

import (
	"net/http"
	"strings"
)

// Code names a kind of problem for good: PD and four digits. The codes of this
// package are PD2001 to PD2999; those of files are below.
type Code string

// The codes of problems. A code is never given to another meaning.
const (
	CodeSession        Code = "PD2001"
	CodeToken          Code = "PD2002"
	CodeLogin          Code = "PD2003"
	CodeLocked         Code = "PD2004"
	CodeRole           Code = "PD2005"
	CodeOrigin         Code = "PD2006"
	CodeHost           Code = "PD2007"
	CodeNoLogin        Code = "PD2008"
	CodeManyStreams    Code = "PD2009"
	CodePath           Code = "PD2101"
	CodeMethod         Code = "PD2102"
	CodeMediaType      Code = "PD2103"
	CodeBody           Code = "PD2104"
	CodeTooLarge       Code = "PD2105"
	CodeParameter      Code = "PD2106"
	CodeSlow           Code = "PD2107"
	CodeIfMatch        Code = "PD2108"
	CodeNotFound       Code = "PD2201"
	CodeRecordingOpen  Code = "PD2202"
	CodeRecordingEnded Code = "PD2203"
	CodeChanged        Code = "PD2204"
	CodeFile           Code = "PD2205"
	CodeNotHere        Code = "PD2206"
	CodeRefused        Code = "PD2207"
	CodeUnreachable    Code = "PD2208"
	CodeBusy           Code = "PD2209"
	CodeInternal       Code = "PD2500"
	CodeNotReady       Code = "PD2501"
)

// The codes of what may be the matter with a running service; see [State].
const (
	CodeBusDown         Code = "PD3101"
	CodeGroupWaits      Code = "PD3102"
	CodeUnitAway        Code = "PD3103"
	CodeRequestsRest    Code = "PD3104"
	CodeOverrun         Code = "PD3105"
	CodeTakeover        Code = "PD3106"
	CodeSinkRetries     Code = "PD3201"
	CodeSinkHolds       Code = "PD3202"
	CodeSinkRefused     Code = "PD3203"
	CodeStoreHeld       Code = "PD3301"
	CodeStoreFull       Code = "PD3302"
	CodeStoreMount      Code = "PD3303"
	CodeStoreRepaired   Code = "PD3304"
	CodeClockUnsure     Code = "PD3401"
	CodeClockApart      Code = "PD3402"
	CodeCalibrationOver Code = "PD3501"
)

// message is one entry of the catalogue. {0}, {1} ... are replaced.
type message struct {
	code   Code
	status int
	title  [2]string // English, Chinese
	detail [2]string
	do     [2]string
}

func messages() []message {
	return []message{
		{
			CodeSession, http.StatusUnauthorized,
			[2]string{"No session", "没有会话"},
			[2]string{"this browser has no session with the service", "此浏览器与服务之间没有会话"},
			[2]string{"open the URL that the service printed when it started, or log in; commands send Authorization: Bearer TOKEN", "请打开服务启动时显示的网址，或登录；命令行程序请发送 Authorization: Bearer TOKEN"},
		}, {
			CodeToken, http.StatusUnauthorized,
			[2]string{"Token not valid", "令牌无效"},
			[2]string{"the token is not known, or it was used before: a start URL works once", "令牌未知或已使用过：启动网址只能使用一次"},
			[2]string{"restart the service for a new URL, or take a new link from a browser that is logged in", "请重启服务以获得新网址，或在已登录的浏览器中取得新链接"},
		}, {
			CodeLogin, http.StatusUnauthorized,
			[2]string{"Login not accepted", "登录未被接受"},
			[2]string{"user or password is wrong", "用户名或密码错误"},
			[2]string{"check both; capital letters count", "请检查用户名和密码，注意大小写"},
		}, {
			CodeLocked, http.StatusTooManyRequests,
			[2]string{"Too many attempts", "尝试次数过多"},
			[2]string{"too many attempts that were not accepted; the next one is looked at in {0} s", "多次尝试未被接受；{0} 秒后才会处理下一次"},
			[2]string{"wait, then try again", "请稍候再试"},
		}, {
			CodeRole, http.StatusForbidden,
			[2]string{"Operator role needed", "需要操作员权限"},
			[2]string{"{0} may look but not change anything", "{0} 只能查看，不能更改"},
			[2]string{"log in as an operator", "请以操作员身份登录"},
		}, {
			CodeOrigin, http.StatusForbidden,
			[2]string{"Request from another origin", "来自其他来源的请求"},
			[2]string{"a page of another origin may not change anything here", "其他来源的页面不得在此更改任何内容"},
			[2]string{"use the page of the service itself", "请使用本服务自己的页面"},
		}, {
			CodeHost, http.StatusMisdirectedRequest,
			[2]string{"Unknown host name", "未知的主机名"},
			[2]string{"the service does not answer to the host name {0}", "本服务不响应主机名 {0}"},
			[2]string{"use the URL that the service printed, or name the host in its configuration", "请使用服务显示的网址，或在配置中写入该主机名"},
		}, {
			CodeNoLogin, http.StatusNotFound,
			[2]string{"No users", "没有用户"},
			[2]string{"this service has no users with passwords", "本服务没有带密码的用户"},
			[2]string{"open the URL that the service printed when it started", "请打开服务启动时显示的网址"},
		}, {
			CodeManyStreams, http.StatusServiceUnavailable,
			[2]string{"Too many live streams", "实时数据流过多"},
			[2]string{"{0} live streams are open, more are not served", "已打开 {0} 个实时数据流，不再提供更多"},
			[2]string{"close pages that nobody looks at", "请关闭无人查看的页面"},
		}, {
			CodePath, http.StatusNotFound,
			[2]string{"No such address", "没有此地址"},
			[2]string{"there is nothing at {0}", "{0} 处没有内容"},
			[2]string{"/api/v1/openapi.json lists what there is", "/api/v1/openapi.json 列出了全部内容"},
		}, {
			CodeMethod, http.StatusMethodNotAllowed,
			[2]string{"Method not allowed", "不允许的方法"},
			[2]string{"{0} is not possible at {1}", "{1} 处不能使用 {0}"},
			[2]string{"the header Allow lists what is", "Allow 标头列出了允许的方法"},
		}, {
			CodeMediaType, http.StatusUnsupportedMediaType,
			[2]string{"Wrong content type", "内容类型错误"},
			[2]string{"the body is {0}; {1} without content encoding is needed", "请求体为 {0}；需要 {1}，且不带内容编码"},
			[2]string{"set the header Content-Type", "请设置 Content-Type 标头"},
		}, {
			CodeBody, http.StatusBadRequest,
			[2]string{"Body not readable", "请求体无法读取"},
			[2]string{"the body is not what is expected: {0}", "请求体与预期不符：{0}"},
			[2]string{"compare it with /api/v1/openapi.json", "请与 /api/v1/openapi.json 对照"},
		}, {
			CodeTooLarge, http.StatusRequestEntityTooLarge,
			[2]string{"Body too large", "请求体过大"},
			[2]string{"the body has more than {0} bytes", "请求体超过 {0} 字节"},
			[2]string{"send less", "请减小请求体"},
		}, {
			CodeParameter, http.StatusBadRequest,
			[2]string{"Parameter not valid", "参数无效"},
			[2]string{"parameter {0}: {1}", "参数 {0}：{1}"},
			[2]string{"compare it with /api/v1/openapi.json", "请与 /api/v1/openapi.json 对照"},
		}, {
			CodeSlow, http.StatusRequestTimeout,
			[2]string{"Took too long", "耗时过长"},
			[2]string{"the request was not done in {0}", "请求未能在 {0} 内完成"},
			[2]string{"ask for less at a time", "请每次少请求一些"},
		}, {
			CodeIfMatch, http.StatusPreconditionRequired,
			[2]string{"Version missing", "缺少版本"},
			[2]string{"the request does not say which version of the file it changes", "请求未说明修改的是文件的哪个版本"},
			[2]string{"send the ETag of the file in the header If-Match", "请在 If-Match 标头中发送文件的 ETag"},
		}, {
			CodeNotFound, http.StatusNotFound,
			[2]string{"Not found", "未找到"},
			[2]string{"there is no {0} {1}", "没有 {0} {1}"},
			[2]string{"check the name; names are written exactly", "请检查名称，名称须完全一致"},
		}, {
			CodeRecordingOpen, http.StatusConflict,
			[2]string{"Already recording", "正在记录"},
			[2]string{"rig {0} is being recorded by {1} ({2})", "台架 {0} 正由 {1} 记录（{2}）"},
			[2]string{"ask {1} to stop it, or stop it yourself", "请让 {1} 停止，或自行停止"},
		}, {
			CodeRecordingEnded, http.StatusConflict,
			[2]string{"Recording has ended", "记录已结束"},
			[2]string{"recording {0} has ended", "记录 {0} 已结束"},
			[2]string{"nothing needs to be done", "无需操作"},
		}, {
			CodeChanged, http.StatusPreconditionFailed,
			[2]string{"Changed meanwhile", "期间已被更改"},
			[2]string{"{0} was changed by somebody else since it was read", "{0} 在读取之后已被他人更改"},
			[2]string{"read it again and repeat the change", "请重新读取后再修改"},
		}, {
			CodeFile, http.StatusUnprocessableEntity,
			[2]string{"File has errors", "文件有错误"},
			[2]string{"{0} has {1} errors; nothing was changed", "{0} 有 {1} 处错误；未作任何更改"},
			[2]string{"put right what the list says", "请按列表逐项改正"},
		}, {
			CodeNotHere, http.StatusNotFound,
			[2]string{"Not part of this service", "本服务不提供"},
			[2]string{"this service does not offer {0}", "本服务不提供 {0}"},
			[2]string{"/api/v1/health says what runs here", "/api/v1/health 说明此处运行的内容"},
		}, {
			CodeRefused, http.StatusUnprocessableEntity,
			[2]string{"Not possible", "无法执行"},
			[2]string{"{0}", "{0}"},
			[2]string{"{1}", "{1}"},
		}, {
			CodeUnreachable, http.StatusBadGateway,
			[2]string{"No answer", "无应答"},
			[2]string{"{0} gave no usable answer: {1}", "{0} 没有可用的应答：{1}"},
			[2]string{"check address, cabling and that nobody else holds the connection", "请检查地址、接线，并确认连接未被占用"},
		}, {
			CodeBusy, http.StatusConflict,
			[2]string{"Busy", "忙"},
			[2]string{"{0} is at work already", "{0} 已在进行中"},
			[2]string{"wait until it is done", "请等待其完成"},
		}, {
			CodeInternal, http.StatusInternalServerError,
			[2]string{"Internal error", "内部错误"},
			[2]string{"{0}", "{0}"},
			[2]string{"look into the log of the service; report it with the log if it repeats", "请查看服务日志；若反复出现，请连同日志一起报告"},
		}, {
			CodeNotReady, http.StatusServiceUnavailable,
			[2]string{"Not ready", "未就绪"},
			[2]string{"the service is not ready: {0}", "服务未就绪：{0}"},
			[2]string{"wait; /api/v1/health lists what is missing", "请稍候；/api/v1/health 列出了缺少的内容"},
		},
	}
}

// states are the problems of a running service. Status 0: they are no answers.
func states() []message {
	return []message{
		{
			CodeBusDown, 0,
			[2]string{"Bus is down", "总线中断"},
			[2]string{"bus {0} is down: {1}", "总线 {0} 中断：{1}"},
			[2]string{"check power, cabling and address; it is connected again by itself as soon as it answers", "请检查电源、接线和地址；一旦有应答将自动恢复连接"},
		}, {
			CodeGroupWaits, 0,
			[2]string{"Group does not run", "采集组未运行"},
			[2]string{"group {0} does not run: {1}", "采集组 {0} 未运行：{1}"},
			[2]string{"see what it waits for; it starts by itself", "请查看其等待的原因；条件满足后将自动开始"},
		}, {
			CodeUnitAway, 0,
			[2]string{"Unit does not answer", "从站无应答"},
			[2]string{"unit {0} ({1}) does not answer and is asked less often", "从站 {0}（{1}）无应答，已降低询问频率"},
			[2]string{"check its power and cable; readings return by themselves", "请检查其电源和线缆；读数将自动恢复"},
		}, {
			CodeRequestsRest, 0,
			[2]string{"Device refuses requests", "设备拒绝请求"},
			[2]string{"{1} refuses {0} requests of the plan", "{1} 拒绝了计划中的 {0} 个请求"},
			[2]string{"compare addresses and quantities in the rig file with the device's manual", "请将台架文件中的地址和数量与设备手册核对"},
		}, {
			CodeOverrun, 0,
			[2]string{"Bus is too slow", "总线过慢"},
			[2]string{"group {0} missed {1} of {2} slots because the bus was busy", "采集组 {0} 因总线繁忙错过了 {2} 个时刻中的 {1} 个"},
			[2]string{"give the group a longer period or take channels away", "请延长采集周期或减少通道"},
		}, {
			CodeTakeover, 0,
			[2]string{"Client id is used twice", "客户端标识重复"},
			[2]string{"another client seems to use the client id of bus {0}", "似乎有另一客户端使用总线 {0} 的客户端标识"},
			[2]string{"give each gateway a client_id of its own in its rig file", "请在台架文件中为每个网关设置各自的 client_id"},
		}, {
			CodeSinkRetries, 0,
			[2]string{"Database takes nothing", "数据库无法写入"},
			[2]string{"{0} takes nothing now: {1}; {2} scans wait here, nothing is lost", "{0} 目前无法写入：{1}；{2} 次扫描在本机等待，不会丢失"},
			[2]string{"nothing, if it is expected back; it is tried again for ever", "若预计会恢复则无需操作；将一直重试"},
		}, {
			CodeSinkHolds, 0,
			[2]string{"Database refuses", "数据库拒绝写入"},
			[2]string{"{0} refuses everything: {1}; {2} scans wait here, nothing is lost", "{0} 拒绝所有写入：{1}；{2} 次扫描在本机等待，不会丢失"},
			[2]string{"{3}", "{3}"},
		}, {
			CodeSinkRefused, 0,
			[2]string{"Lines were set aside", "部分数据被搁置"},
			[2]string{"{0} refused {1} scans for good; they are stored here and were set aside", "{0} 永久拒绝了 {1} 次扫描；它们已存储在本机并被搁置"},
			[2]string{"look at the reason in the reconcile report; often a field has another type there", "请在对账报告中查看原因；常见原因是数据库中字段类型不同"},
		}, {
			CodeStoreHeld, 0,
			[2]string{"Store cannot write", "存储无法写入"},
			[2]string{"the store cannot write: {0}", "存储无法写入：{0}"},
			[2]string{"make room on the disk or check it; readings wait in memory, then become gaps", "请释放磁盘空间或检查磁盘；读数先在内存中等待，随后将成为缺失"},
		}, {
			CodeStoreFull, 0,
			[2]string{"Disk will be full", "磁盘即将写满"},
			[2]string{"the disk of the store is full in {0} days at the present rate", "按目前速度，存储磁盘将在 {0} 天后写满"},
			[2]string{"make room, or state days and size of the store in the rig file", "请释放空间，或在台架文件中设置存储天数和大小"},
		}, {
			CodeStoreMount, 0,
			[2]string{"Disk is not safe", "磁盘不安全"},
			[2]string{"the store lies on {0}, which may lose what was committed when power fails", "存储位于 {0}，断电时可能丢失已提交的数据"},
			[2]string{"put the data directory on a local disk", "请将数据目录放在本地磁盘上"},
		}, {
			CodeStoreRepaired, 0,
			[2]string{"Store was repaired", "存储已修复"},
			[2]string{"the store was not as it was left: {0}", "存储与上次关闭时不一致：{0}"},
			[2]string{"nothing; what is missing is in the ledger with its reason", "无需操作；缺失部分及其原因已记入账目"},
		}, {
			CodeClockUnsure, 0,
			[2]string{"Clock is not synchronised", "时钟未同步"},
			[2]string{"the clock of this machine is not synchronised", "本机时钟未同步"},
			[2]string{"start a time service (chrony or systemd-timesyncd); methods that compare clocks are refused until then", "请启动时间服务（chrony 或 systemd-timesyncd）；在此之前将拒绝需要比较时钟的方法"},
		}, {
			CodeClockApart, 0,
			[2]string{"Clock was changed", "时钟被更改"},
			[2]string{"the wall clock is {0} s away from the service's time", "系统时钟与服务时间相差 {0} 秒"},
			[2]string{"restart the service when nothing is recorded; until then readings keep the service's own time", "请在没有记录时重启服务；在此之前读数沿用服务自身的时间"},
		}, {
			CodeCalibrationOver, 0,
			[2]string{"Calibration has expired", "校准已过期"},
			[2]string{"the calibration of channel {0} was due on {1}", "通道 {0} 的校准已于 {1} 到期"},
			[2]string{"have the instrument calibrated and enter the certificate; results are indicative until then", "请校准仪器并录入证书；在此之前结果仅供参考"},
		},
	}
}

// State describes a problem of a running service in a language.
func State(l Language, severity string, code Code, args ...string) ProblemDocument {
	m, i := lookup(code), index(l)
	return ProblemDocument{Code: string(code), Severity: severity, What: expand(m.detail[i], args), Do: expand(m.do[i], args)}
}

func lookup(code Code) message {
	all := append(messages(), states()...)
	for i := range all {
		if all[i].code == code {
			return all[i]
		}
	}
	panic("BUG: no message for code " + string(code))
}

// Codes returns the codes of this package with title and remedy in a language,
// for the documentation.
func Codes(l Language) map[Code][2]string {
	list := map[Code][2]string{}
	for _, m := range append(messages(), states()...) {
		list[m.code] = [2]string{m.title[index(l)], m.do[index(l)]}
	}
	return list
}

func index(l Language) int {
	if l == Chinese {
		return 1
	}
	return 0
}

func expand(text string, args []string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	pairs := make([]string, 0, 2*len(args))
	for i, a := range args {
		pairs = append(pairs, "{"+string(rune('0'+i))+"}", a)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// language reads what a browser or the user prefers, English if it says
// neither.
func language(r *http.Request) Language {
	if v := r.URL.Query().Get("lang"); v != "" {
		if strings.HasPrefix(strings.ToLower(v), "zh") {
			return Chinese
		}
		return English
	}
	best, weight := English, 0.0
	for part := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, q := weighted(part)
		var l Language
		switch primary, _, _ := strings.Cut(tag, "-"); primary {
		case "zh":
			l = Chinese
		case "en", "*":
			l = English
		default:
			continue
		}
		if q > weight {
			best, weight = l, q
		}
	}
	return best
}
