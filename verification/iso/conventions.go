package iso

// A Convention is a choice that this project made where no bought copy of a
// standard has confirmed the clause. Reports list those that a result rests on.
type Convention struct {
	ID      string // "P-2"
	English string
	Chinese string
}

// Conventions are the texts of what Method.Conventions names.
func Conventions() []Convention {
	return []Convention{
		{"P-1", "ANR conversions use rho0 = 1.185 kg/m³ and R = p0/(rho0·T0) = 287.867 J/(kg·K).", "ANR 换算采用 rho0 = 1.185 kg/m³，R = p0/(rho0·T0) = 287.867 J/(kg·K)。"},
		{"P-2", "Steady: (max-min)/mean at most 0.5 % of p1 and 1 % of qm, max-min at most 1 K of T1, over the averaged window (20 block means where it is longer).", "稳态：平均窗口内 p1 波动不超过 0.5 %，qm 不超过 1 %，T1 不超过 1 K（窗口较长时取 20 个分段均值）。"},
		{"P-3", "Decision: simple acceptance, or a guard band equal to U (k = 2); margin and U are always stated.", "判定：简单接受，或以 U（k = 2）为保护带；始终给出裕度和 U。"},
		{"P-4", "C is the mean conductance of the choked points, then b and m by least squares (E1); a joint fit (E2) is the check.", "C 为壅塞点流导平均值，b、m 由最小二乘求得（E1）；联合拟合（E2）作核对。"},
		{"P-5", "m is stated where it differs from 0.5 by more than 2·u(m); b of another m is not comparable.", "当 m 与 0.5 之差超过 2·u(m) 时给出 m；不同 m 下的 b 不可比较。"},
		{"P-6", "A set whose conductance differs by more than 2 % between the two lowest pressure ratios has no choked plateau and is refused.", "两个最低压力比处流导相差超过 2 % 的数据没有壅塞平台，拒绝评定。"},
		{"P-7", "Uncertainty of the fit: first order through the fit with common terms correlated, checked by Monte Carlo of at least 20 000 draws.", "拟合的不确定度：经拟合的一阶传播，公共项相关，并以至少 20 000 次蒙特卡洛核对。"},
		{"P-8", "Tank tests: least squares of the integrated isothermal equation (Runge-Kutta, two steps per sample); the gas may cool by 3 K.", "容器试验：对积分后的等温方程作最小二乘（龙格-库塔，每采样两步）；气体温降不超过 3 K。"},
		{"P-9", "Systems: elements are marched from upstream at constant stagnation temperature; b and m of the whole are fitted over r = 0.02 to 0.98.", "系统：在滞止温度不变下自上游逐个计算；整体的 b、m 在 r = 0.02 至 0.98 上拟合。"},
		{"P-10", "Endurance measurements are log-spaced, at least ten per expected B10.", "耐久性测量按对数间隔，每个预期 B10 至少十次。"},
		{"P-11", "Failure is the first three-point moving average above the limit; termination life is the count of that measurement.", "三点滑动平均首次超限即为失效；终止寿命取该次测量的循环数。"},
		{"P-12", "Fisher bounds are optimistic below ten failures; the likelihood ratio bound is given beside them.", "失效少于十个时费希尔界限偏乐观，同时给出似然比界限。"},
		{"P-13", "A crossing is the first of five consecutive samples beyond the threshold, interpolated linearly; the threshold is a share of p1 - p_atm from the mean before the edge.", "越限点为连续五个越限采样中的第一个，线性插值；阈值为边沿前均值加 p1 - p_atm 的份额。"},
		{"P-14", "Stroke times run from the control edge to 2 % and 98 % of the stroke, mean velocity from 10 % to 90 %; break-away is the pressure at the first millimetre.", "行程时间自控制边沿至行程的 2 % 与 98 %，平均速度取 10 % 至 90 %；起动压力取首个 1 mm 处的压力。"},
		{"P-15", "Step metrics are of the step from the mean before the edge to the mean of the last tenth; settling is the last exit from the band; t63 is at 1-1/e.", "阶跃指标以边沿前均值至末段十分之一均值为阶跃；调节时间取最后一次离开误差带；t63 取 1-1/e。"},
	}
}
