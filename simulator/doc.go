// Package simulator holds rigs of software, reached only by wire: a Plant is the physics of a rig with its sensors and its
// own control, an Instrument puts signals of a plant on a bus as the maker's document says, a Fault makes one or the other
// misbehave in a known way.
//
// # Plants
//
// A Plant is made by NewPlant from a kind, a seed and parameters, and advanced by Step; everything it holds is in SI with
// absolute pressures, and air is the gas of the standard reference atmosphere (ISO 8778: 20 °C, 100 kPa, 1.185 kg/m3, so
// that R = p0/(rho0*T0)). Reading a signal delivers what its sensor makes of it; Truth tells what it is.
//
// flow-bench is the set-up of ISO 6358-1 with constant upstream pressure: supply, regulator, flow meter, upstream tube,
// test item, downstream tube, throttle, atmosphere. Signals:
//
//	p1 p2 T1 qm p_atm p_supply        measured   Pa, Pa, K, kg/s, Pa, Pa
//	throttle_position                 measured   1 (0 shut .. 1 open)
//	p_set throttle valve              commanded  Pa, 1 (0..1), 1 (0/1)
//	plc.start plc.abort               commanded  1 (0/1), rising edge
//	host.heartbeat                    commanded  1, any change is a beat (parameter host.timeout)
//	plc.step plc.point plc.record plc.running plc.done plc.aborted plc.runs plc.heartbeat   state
//	dut.present dut.position                                                                  state
//
// Its program: 1 purge, 2 energise, 3 set point, 4 leak check with the throttle shut, then a step for each throttle
// position (plc.point 1, 2, 3 ... from open to a pressure ratio of 0.97), vent, rest.
//
// valve-stand shifts a 5/2 valve with plugged outlets (ISO 12238) and then measures its leakage by pressure decay.
// Signals:
//
//	p1 p2 p4 p_tank p_atm T_tank      measured   Pa, Pa, Pa, Pa, Pa, K; p1 p2 p4 also as bursts
//	p_set coil supply_valve tank_valve vent_valve      commanded; coil also as bursts
//	plc.* host.heartbeat dut.*        as above, plc.point counts the cycles
//
// Its program: 1 pressure on port 1, 2 conditioning shifts, 3 measured shifts, 4 fill the tank, 5 close the supply,
// 6 stabilise, 7 measure the decay (of tank, port 1 and outlet 2), 8 vent, 9 rest.
//
// In both, plc.record is 1 in the last part of a dwell, when figures stand; an abort shows step 99 and vents. While a
// program runs the PLC owns the outputs, and commands to them are errors. With plc.auto=1 programs follow each other.
package simulator
