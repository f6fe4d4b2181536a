export class DemoView { constructor(host) { this.host = host; } }
